//! Contexts to memorise, as people have them: text, Markdown, and JSONL documents.

use std::path::Path;

use serde_json::Value;

use crate::files::{read_bytes, text};
use crate::json_lines::{self, Parsed};
use crate::{Error, Result};

/// How the bytes of a source are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextFormat {
    /// One document, as it is; Markdown too, whose marks are part of the text.
    Text,
    /// One document a line: a JSON string, or an object with `text` or `context`, each a string or a list of
    /// strings. Other fields are ignored.
    Jsonl,
}

impl ContextFormat {
    /// JSONL for names that end in `.jsonl` or `.ndjson`, text for all others.
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            _ => Self::Text,
        }
    }
}

/// A context: documents in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// The documents, none of them blank.
    pub documents: Vec<String>,
    /// The names of the sources that they came from.
    pub sources: Vec<String>,
}

impl Context {
    /// Adds the documents of file `path`.
    ///
    /// # Errors
    /// As [`Context::add`], and a file that cannot be read.
    pub fn add_file(&mut self, path: &Path, format: Option<ContextFormat>) -> Result<()> {
        let bytes = read_bytes(path)?;
        self.add(path, &bytes, format.unwrap_or_else(|| ContextFormat::of_name(path)))
    }

    /// Adds the documents in `bytes`; `name` says in messages and records where they came from.
    ///
    /// # Errors
    /// With name and place: nothing but white space, bytes that are no text, a line that is no document.
    pub fn add(&mut self, name: &Path, bytes: &[u8], format: ContextFormat) -> Result<()> {
        let text = text(name, bytes)?;
        let before = self.documents.len();
        match format {
            ContextFormat::Text if text.trim().is_empty() => {}
            ContextFormat::Text => self.documents.push(text.to_owned()),
            ContextFormat::Jsonl => {
                let lines = json_lines::parse(name, text, |_, value| documents(value))?;
                self.documents.extend(lines.into_iter().flatten());
            }
        }
        if self.documents.len() == before {
            return Err(Error::file(name, "is empty: there is nothing to memorise"));
        }
        self.sources.push(name.display().to_string());
        Ok(())
    }

    /// Length of all documents, in bytes.
    pub fn bytes(&self) -> usize {
        self.documents.iter().map(String::len).sum()
    }

    /// The documents as one text, as a prompt holds them.
    pub fn joined(&self) -> String {
        self.documents.join("\n")
    }
}

/// The documents of one line of JSONL.
fn documents(value: Value) -> Parsed<Vec<String>> {
    const WANTED: &str = "a document is a JSON string, or an object with `text` or `context`";
    let value = match value {
        Value::Object(mut fields) => match (fields.remove("text"), fields.remove("context")) {
            (Some(text), None) | (None, Some(text)) => text,
            (None, None) => return Err(format!("no `text`: {WANTED}")),
            (Some(_), Some(_)) => return Err("both `text` and `context`: keep one".to_owned()),
        },
        other => other,
    };
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let one = |value| match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        Value::String(_) => Err("a document is blank".to_owned()),
        _ => Err(WANTED.to_owned()),
    };
    list.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], format: ContextFormat) -> Result<Context> {
        let mut context = Context::default();
        context.add(Path::new("c.x"), bytes, format)?;
        Ok(context)
    }

    #[test]
    fn text_is_one_document_as_it_is() {
        let context = read("\u{feff}# Title\n\nA *b*.\r\n".as_bytes(), ContextFormat::Text).unwrap();
        assert_eq!(context.documents, ["# Title\n\nA *b*.\r\n"]);
        assert_eq!((context.sources[0].as_str(), context.bytes()), ("c.x", 17));
    }

    #[test]
    fn a_line_of_jsonl_is_a_string_a_text_or_a_list_of_texts() {
        let lines =
            "\"A.\"\n{\"text\": \"B.\", \"id\": 7}\n\n{\"context\": [\"C.\", \"D.\"], \"question\": \"?\"}\n";
        let context = read(lines.as_bytes(), ContextFormat::Jsonl).unwrap();
        assert_eq!(context.documents, ["A.", "B.", "C.", "D."]);
        assert_eq!(context.joined(), "A.\nB.\nC.\nD.");
        assert_eq!(ContextFormat::of_name(Path::new("a/b.jsonl")), ContextFormat::Jsonl);
        assert_eq!(ContextFormat::of_name(Path::new("jsonl/b.md")), ContextFormat::Text);
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        let text = ContextFormat::Text;
        for (bytes, format, expected) in [
            (&b""[..], text, "c.x: is empty"),
            (b" \n\t\n", text, "c.x: is empty"),
            (b"\n\n", ContextFormat::Jsonl, "c.x: is empty"),
            (b"A\0B", text, "binary file (byte 1 is zero)"),
            (b"\xff\xfeA\0", text, "UTF-16"),
            (b"line\nab\xe9 cd", text, "c.x:2: invalid UTF-8 at byte 7 of the file (0xe9)"),
            (b"\"A.\"\n{", ContextFormat::Jsonl, "c.x:2: not JSON"),
            (b"{\"txt\": \"A.\"}", ContextFormat::Jsonl, "c.x:1: no `text`"),
            (b"{\"text\": \" \"}", ContextFormat::Jsonl, "c.x:1: a document is blank"),
            (b"{\"text\": 3}", ContextFormat::Jsonl, "c.x:1: a document is"),
            (b"{\"text\": \"a\", \"context\": \"b\"}", ContextFormat::Jsonl, "c.x:1: both"),
        ] {
            let message = read(bytes, format).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
