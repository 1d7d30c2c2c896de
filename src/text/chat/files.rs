//! The chat template among the files of a base.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::missing;
use crate::files::{parse_json, read_text_if_there};
use crate::gguf::Gguf;
use crate::text::from_gguf::chat_template;
use crate::text::{TOKENIZER_CONFIG_FILE, TokenizerFiles};
use crate::{Error, Result};

/// A template in a file of its own, which counts more than those in `tokenizer_config.json`.
pub const CHAT_TEMPLATE_FILE: &str = "chat_template.jinja";
/// The key of a template, or of a list of named ones, in `tokenizer_config.json`.
const KEY: &str = "chat_template";
/// What the only template, or the usual one of several, is called.
const DEFAULT: &str = "default";

/// A template, and the tokens that it may name.
#[derive(Debug)]
pub(super) struct ChatSource {
    pub text: String,
    /// `bos_token`, `eos_token` and the others by their keys.
    pub tokens: Map<String, Value>,
    path: PathBuf,
    /// Whether the template is a file of its own, so that its lines are the file's.
    is_file: bool,
}

impl ChatSource {
    /// The error of the template, with its line where that is known.
    pub fn fault(&self, line: Option<usize>, reason: &str) -> Error {
        match (self.is_file, line) {
            (true, Some(line)) => Error::data(&self.path, line, format!("the template {reason}")),
            (true, None) => Error::file(&self.path, format!("the template {reason}")),
            (false, Some(line)) => {
                Error::file(&self.path, format!("`{KEY}`, line {line}: the template {reason}"))
            }
            (false, None) => Error::file(&self.path, format!("`{KEY}`: the template {reason}")),
        }
    }
}

/// The chat template of the base in `folder`: the one called `name`, else `default`. `None` where the base has no such
/// template and none was named.
///
/// # Errors
/// A file that cannot be read, a key of another form, a named template that is not there.
pub(super) fn chat_source(folder: &Path, name: Option<&str>) -> Result<Option<ChatSource>> {
    let config = folder.join(TOKENIZER_CONFIG_FILE);
    let fields = match read_text_if_there(&config)? {
        Some(text) => parse_json::<Map<String, Value>>(&config, &text)?,
        None => Map::new(),
    };
    let own = folder.join(CHAT_TEMPLATE_FILE);
    let mut named = named_templates(&fields).map_err(|reason| Error::file(&config, reason))?;
    let is_file = match read_text_if_there(&own)? {
        Some(text) => {
            named.retain(|(name, _)| name != DEFAULT);
            named.push((DEFAULT.to_owned(), text));
            name.is_none_or(|name| name == DEFAULT)
        }
        None => false,
    };
    let wanted = name.unwrap_or(DEFAULT);
    let found = named.iter().find(|(name, _)| name == wanted);
    match (found, name) {
        (Some((_, text)), _) => {
            let path = if is_file { own } else { config };
            Ok(Some(ChatSource { text: text.clone(), tokens: tokens(&fields), path, is_file }))
        }
        (None, None) => Ok(None),
        (None, Some(name)) => {
            let others: Vec<String> = named.into_iter().map(|(name, _)| name).collect();
            Err(missing(folder, name, &others))
        }
    }
}

/// The chat template of a GGUF file, which has one at most. `None` where it has none and none was named.
///
/// # Errors
/// Metadata of another kind; a named template that is not there.
pub(super) fn chat_source_in(gguf: &Gguf, name: Option<&str>) -> Result<Option<ChatSource>> {
    let text = chat_template(gguf)?;
    match (text, name) {
        (Some(text), None | Some(DEFAULT)) => {
            let files = TokenizerFiles::in_gguf(gguf)?;
            let fields = files.config.text.map(|text| parse_json(gguf.path(), &text)).transpose()?;
            let tokens = tokens(&fields.unwrap_or_default());
            Ok(Some(ChatSource { text, tokens, path: gguf.path().to_owned(), is_file: false }))
        }
        (None, None) => Ok(None),
        (text, Some(name)) => {
            let others: Vec<String> = text.map(|_| DEFAULT.to_owned()).into_iter().collect();
            Err(missing(gguf.path(), name, &others))
        }
    }
}

/// The templates of `tokenizer_config.json` by name: one text, or a list of objects with `name` and `template`.
fn named_templates(fields: &Map<String, Value>) -> std::result::Result<Vec<(String, String)>, String> {
    let wrong = || format!("`{KEY}` is neither text nor a list of objects with `name` and `template`");
    match fields.get(KEY) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![(DEFAULT.to_owned(), text.clone())]),
        Some(Value::Array(list)) => {
            let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let named = |entry| Some((text(entry, "name")?, text(entry, "template")?));
            list.iter().map(|entry| named(entry).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Tokens with a name, written as text or as an object with `content`.
fn tokens(fields: &Map<String, Value>) -> Map<String, Value> {
    let named = fields.iter().filter(|(key, _)| key.ends_with("_token"));
    let tokens = named.filter_map(|(key, value)| {
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str))?;
        Some((key.clone(), text.into()))
    });
    tokens.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn room(config: &Value) -> tempfile::TempDir {
        let room = tempfile::tempdir().unwrap();
        fs::write(room.path().join(TOKENIZER_CONFIG_FILE), config.to_string()).unwrap();
        room
    }

    fn text(room: &tempfile::TempDir, name: Option<&str>) -> Option<String> {
        chat_source(room.path(), name).unwrap().map(|source| source.text)
    }

    #[test]
    fn a_template_is_found_as_text_by_its_name_or_in_its_file() {
        assert_eq!(text(&tempfile::tempdir().unwrap(), None), None);
        assert_eq!(text(&room(&json!({"chat_template": null})), None), None);
        let one = room(&json!({"chat_template": "one"}));
        assert_eq!([text(&one, None), text(&one, Some("default"))], [Some("one".into()), Some("one".into())]);
        let entry = |name: &str| json!({"name": name, "template": format!("of {name}")});
        let several = room(&json!({"chat_template": [entry("tool_use"), entry("default")]}));
        assert_eq!(text(&several, None).unwrap(), "of default");
        assert_eq!(text(&several, Some("tool_use")).unwrap(), "of tool_use");
        let error = chat_source(several.path(), Some("rag")).unwrap_err().to_string();
        assert!(error.contains("`rag`") && error.contains("`tool_use`, `default`"), "{error}");
        fs::write(several.path().join(CHAT_TEMPLATE_FILE), "of the file").unwrap();
        assert_eq!(text(&several, None).unwrap(), "of the file");
        assert_eq!(text(&several, Some("tool_use")).unwrap(), "of tool_use");
        assert_eq!(
            text(&room(&json!({"chat_template": [entry("rag")]})), None),
            None,
            "none is the usual one"
        );
        let error =
            chat_source(tempfile::tempdir().unwrap().path(), Some("default")).unwrap_err().to_string();
        assert!(error.contains("the base has none"), "{error}");
    }

    #[test]
    fn a_key_of_another_form_is_refused_and_tokens_are_found_in_both_forms() {
        for wrong in [json!(1), json!([1]), json!([{"name": "x"}]), json!({"default": "x"})] {
            let error =
                chat_source(room(&json!({"chat_template": wrong})).path(), None).unwrap_err().to_string();
            assert!(error.contains("tokenizer_config.json") && error.contains("`chat_template`"), "{error}");
        }
        let config = json!({"chat_template": "x", "bos_token": "<s>", "eos_token": {"content": "</s>"},
            "pad_token": null, "add_bos_token": true});
        let source = chat_source(room(&config).path(), None).unwrap().unwrap();
        assert_eq!(Value::Object(source.tokens), json!({"bos_token": "<s>", "eos_token": "</s>"}));
    }
}
