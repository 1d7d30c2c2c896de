//! Chat templates are run: Jinja as transformers has it, within bounds of time and memory.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error as Fault, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::json;

use super::files::ChatSource;
use crate::panics::caught;
use crate::{Error, Result};

/// Instructions, and pieces of 64 bytes, that a template may take: published ones take a few hundred.
const FUEL: u64 = 100_000;
/// How deep macros may call each other.
const DEPTH: usize = 100;

/// The text of a conversation of `(role, content)`. As in transformers, blocks swallow the line break behind them and the
/// white space before them, `raise_exception` fails, and there are no tools and no documents.
///
/// There is no date (`strftime_now`): prompts would differ from day to day, where templates have a fixed one instead.
///
/// # Errors
/// A template that cannot be read, fails, or takes more than its bounds.
pub(super) fn render(source: &ChatSource, messages: &[(&str, &str)], asks: bool) -> Result<String> {
    let messages: Vec<_> =
        messages.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect();
    let mut context = source.tokens.clone();
    context.insert("messages".to_owned(), messages.into());
    context.insert("add_generation_prompt".to_owned(), asks.into());
    context.insert("tools".to_owned(), serde_json::Value::Null);
    context.insert("documents".to_owned(), serde_json::Value::Null);
    let text = without_training_marks(&source.text);
    let run = || environment().render_str(&text, Value::from(Serde(&context)));
    match caught(run) {
        Ok(outcome) => outcome.map_err(|fault| explained(source, &fault)),
        Err(panic) => Err(source.fault(None, &format!("makes the `minijinja` library panic ({panic})"))),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters differ from each other"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    environment.add_function("raise_exception", |reason: String| -> std::result::Result<Value, Fault> {
        Err(Fault::new(ErrorKind::InvalidOperation, reason))
    });
    environment
}

fn explained(source: &ChatSource, fault: &Fault) -> Error {
    let detail = fault.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    let reason = match fault.kind() {
        ErrorKind::OutOfFuel => "takes too much time or memory: does it loop without end?".to_owned(),
        ErrorKind::SyntaxError => format!("is no Jinja{detail}"),
        kind => format!("fails: {kind}{detail}"),
    };
    source.fault(fault.line(), &reason)
}

/// The template without `{% generation %}` and `{% endgeneration %}`, with which transformers marks what a model is trained
/// on; Jinja does not know them. A condition that always holds leaves lines and white space as they are.
fn without_training_marks(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, tag)) = rest.split_once("{%") {
        let Some((inside, behind)) = tag.split_once("%}") else { break };
        let known = match inside.trim_matches(['-', '+']).trim() {
            "generation" => inside.replace("generation", "if true"),
            "endgeneration" => inside.replace("endgeneration", "endif"),
            _ => inside.to_owned(),
        };
        out += &format!("{before}{{%{known}%}}");
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_training_are_taken_out_and_nothing_else_is_touched() {
        let text = "a{%- generation -%}b{% endgeneration %}{% if generation %}{% x";
        let expected = "a{%- if true -%}b{% endif %}{% if generation %}{% x";
        assert_eq!(without_training_marks(text), expected);
        for text in ["plain {{ x }}", "{%}", "{%%}", "%}{%", "a{%}b{% if x %}", ""] {
            assert_eq!(without_training_marks(text), text);
        }
    }
}
