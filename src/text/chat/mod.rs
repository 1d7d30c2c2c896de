//! Instruct models: a prompt and its answer as the turns of a conversation, in the form that a base was trained on.
//!
//! A base brings its form as a Jinja template ([`files`]). It is run once, when the base is opened ([`jinja`]), with a
//! mark in the place of what the user says; what it wrote around the mark is the form ([`ChatForm`]), which is recorded
//! and needs neither the template nor Jinja again. So no text of a user or a document is ever seen by a template.

mod files;
mod form;
mod jinja;

use std::path::Path;

use super::Tokenizer;
use crate::error::shown;
use crate::gguf::Gguf;
use crate::{Error, Result};

pub use files::CHAT_TEMPLATE_FILE;
pub use form::ChatForm;

use files::ChatSource;

/// Stands for what the user says, and for what the model says. No base knows these characters, and a template that changes
/// others shows it here.
const USER: &str = "\u{e000}a <b> & 'c' \"d\" \\\n\u{e001}";
const ASSISTANT: &str = "\u{e002}e\u{e003}";
/// White space around them, which no template writes itself: it is gone where messages are trimmed.
const SPACE: char = '\u{2003}';

/// The conversation of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// What stands around a user's message and before the answer.
    pub form: ChatForm,
    /// The control token behind an answer; `None` where the template has none there.
    pub end_token: Option<String>,
}

impl Chat {
    /// The conversation of the base in `folder`, by its template called `name`, or the one called `default` of several;
    /// `None` where it has no template and none was named.
    ///
    /// # Errors
    /// With file and line: a template that cannot be read or run, that loops without end, or that does not write
    /// messages as they are. A base without the template that was named.
    pub fn of_base(folder: &Path, name: Option<&str>, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let source = files::chat_source(folder, name)?;
        source.map(|source| Self::of(&source, tokenizer)).transpose()
    }

    /// As [`of_base`](Self::of_base), of the one template that a GGUF file may hold.
    ///
    /// # Errors
    /// As [`of_base`](Self::of_base).
    pub fn of_gguf(gguf: &Gguf, name: Option<&str>, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let source = files::chat_source_in(gguf, name)?;
        source.map(|source| Self::of(&source, tokenizer)).transpose()
    }

    fn of(source: &ChatSource, tokenizer: &Tokenizer) -> Result<Self> {
        Ok(Self { form: form_of(source)?, end_token: end_of(source, tokenizer)? })
    }
}

/// The usual chat template of the base in `folder`, as it is written there, if it has one.
///
/// # Errors
/// A file that cannot be read, or a key of another form.
pub fn chat_template(folder: &Path) -> Result<Option<String>> {
    Ok(files::chat_source(folder, None)?.map(|source| source.text))
}

/// What the template writes around a message and before the answer.
fn form_of(source: &ChatSource) -> Result<ChatForm> {
    let text = jinja::render(source, &[("user", &format!("{SPACE}{USER}{SPACE}"))], true)?;
    let changes = || source.fault(None, "does not write a user's message once and as it is");
    let (before, after) = text.split_once(USER).ok_or_else(changes)?;
    let untrimmed = before.strip_suffix(SPACE).zip(after.strip_prefix(SPACE));
    let (before, after) = untrimmed.unwrap_or((before, after));
    let is_plain = ![before, after].iter().any(|part| part.contains([SPACE, '\u{e000}', '\u{e001}']));
    if !is_plain {
        return Err(changes());
    }
    ChatForm::new(before, after, untrimmed.is_none()).map_err(|reason| source.fault(None, &reason))
}

/// The control token that the template writes behind an answer.
fn end_of(source: &ChatSource, tokenizer: &Tokenizer) -> Result<Option<String>> {
    let text = jinja::render(source, &[("user", USER), ("assistant", ASSISTANT)], false)?;
    let changes = || source.fault(None, "does not write the model's message as it is");
    let (_, behind) = text.split_once(ASSISTANT).ok_or_else(changes)?;
    let end = tokenizer.control_at_the_start_of(behind.trim_start());
    Ok(end.map(str::to_owned))
}

/// What to say where a template was named and the base has none.
fn missing(folder: &Path, name: &str, others: &[String]) -> Error {
    let others: Vec<String> = others.iter().map(|name| format!("`{}`", shown(name))).collect();
    let there = match others.as_slice() {
        [] => "the base has none".to_owned(),
        names => format!("there is {}", names.join(", ")),
    };
    let reason = format!(
        "has no chat template `{}`, and {there}: set data.chat_template to \"none\", or to a form of your own with \
         {{message}}",
        shown(name)
    );
    Error::file(folder, reason)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::text::word_level;

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    /// A base with this template and the control tokens `<|im_start|>`, `<|im_end|>` and `<eos>`.
    fn base(template: &str) -> tempfile::TempDir {
        let room = tempfile::tempdir().unwrap();
        word_level::save(room.path(), ["a b"]).unwrap();
        let path = room.path().join("tokenizer.json");
        let mut file: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for (name, id) in [("<|im_start|>", 5), ("<|im_end|>", 6)] {
            file["model"]["vocab"][name] = json!(id);
            file["added_tokens"].as_array_mut().unwrap().push(json!({
                "id": id, "content": name, "special": true, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false,
            }));
        }
        fs::write(path, file.to_string()).unwrap();
        fs::write(room.path().join("chat_template.jinja"), template).unwrap();
        room
    }

    fn chat(template: &str) -> Result<Chat> {
        let room = base(template);
        let tokenizer = Tokenizer::from_folder(room.path(), None)?;
        Chat::of_base(room.path(), None, &tokenizer).map(Option::unwrap)
    }

    fn refusal(template: &str) -> String {
        let message = chat(template).unwrap_err().to_string();
        assert!(message.contains("chat_template.jinja"), "{message}");
        message
    }

    #[test]
    fn a_template_becomes_what_stands_around_a_message_and_the_token_behind_an_answer() {
        let found = chat(CHATML).unwrap();
        let form = "<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!((found.form.to_string().as_str(), found.end_token.as_deref()), (form, Some("<|im_end|>")));
        let trimming = chat(&CHATML.replace("m.content", "m['content'].strip()")).unwrap();
        assert_eq!(trimming.form.to_string(), form.replace("{message}", "{message | trim}"));
        let eos = "{{ messages[0].content }}[/]{% if messages[1] %} {{ messages[1].content }} {{ eos_token }}{% endif %}";
        let found = chat(eos).unwrap();
        assert_eq!(
            (found.form.to_string().as_str(), found.end_token.as_deref()),
            ("{message}[/]", Some("<eos>"))
        );
        let endless = chat("{{ messages[-1].content }}\nAnswer:").unwrap();
        assert_eq!(endless.end_token, None);
    }

    #[test]
    fn a_template_that_changes_messages_is_refused() {
        for change in
            ["| upper", "| escape", "| tojson", "| replace('b', 'c')", "* 2", ".split('\\n')[0]", "[1:]"]
        {
            let message = refusal(&CHATML.replace("m.content", &format!("m.content {change}")));
            assert!(message.contains("as it is"), "{change}: {message}");
        }
        assert!(refusal("no message at all").contains("as it is"));
        assert!(refusal("{message} {{ messages[0].content }}").contains("{message}"));
    }

    #[test]
    fn a_template_that_fails_is_named_with_its_line() {
        for (template, expected) in [
            ("a\n{% if %}", ":2: "),
            ("a\nb\n{{ messages | nothing_like_it }}", ":3: "),
            ("\n{{ raise_exception('only\u{1b} tools') }}", ":2: "),
            ("{{ strftime_now('%d') }}", "strftime_now"),
            ("{{ messages[0].content.nowhere() }}", ":1: "),
        ] {
            let message = refusal(template);
            assert!(message.contains(expected) && !message.contains('\u{1b}'), "{template:?}: {message}");
        }
    }

    #[test]
    fn a_template_that_would_run_or_grow_without_end_is_stopped() {
        let doubling =
            "{% set s = namespace(x='ab') %}{% for i in range(99) %}{% set s.x = s.x ~ s.x %}{% endfor %}";
        let deep = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        for template in
            [doubling, deep, nested, "{{ 'x' * 100000000 }}", &"(".repeat(100_000), &"{{ (".repeat(9_999)]
        {
            // A text of brackets alone is one that does not write the message.
            refusal(template);
        }
        assert!(refusal(nested).contains("without end"));
    }
}
