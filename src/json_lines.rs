//! The one reader of JSON lines: a value a line, blank lines between.

use std::path::Path;

use serde_json::{Map, Value};

use crate::files::read_text;
use crate::{Error, Result};

/// What is made of a line, or what is wrong with it.
pub type Parsed<T> = std::result::Result<T, String>;

/// Reads a file and makes something of each line that is not blank; `make` is given the number of the line, from 1.
///
/// # Errors
/// A file that is no text; with file and line, a line that is not JSON or that `make` refuses; a file without lines,
/// which says that `wanted` was expected.
pub fn read<T>(path: &Path, wanted: &str, make: impl FnMut(usize, Value) -> Parsed<T>) -> Result<Vec<T>> {
    let made = parse(path, &read_text(path)?, make)?;
    match made.is_empty() {
        true => Err(Error::file(path, format!("empty: expected {wanted} a line"))),
        false => Ok(made),
    }
}

/// As [`read`], of a text that `name` stands for in messages and that may be empty.
///
/// # Errors
/// With name and line: a line that is not JSON or that `make` refuses.
pub fn parse<T>(name: &Path, text: &str, mut make: impl FnMut(usize, Value) -> Parsed<T>) -> Result<Vec<T>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let made = lines.map(|(index, line)| {
        let value = serde_json::from_str(line).map_err(|fault| format!("not JSON: {fault}"));
        value.and_then(|value| make(index + 1, value)).map_err(|reason| Error::data(name, index + 1, reason))
    });
    made.collect()
}

/// The value as an object.
///
/// # Errors
/// A value that is none.
pub fn object(value: Value) -> Parsed<Map<String, Value>> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err("not a JSON object".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Result<Vec<(usize, i64)>> {
        let number = |line, value: Value| Ok((line, value.as_i64().ok_or("not a number")?));
        parse(Path::new("n.jsonl"), text, number)
    }

    #[test]
    fn blank_lines_count_and_are_left_out() {
        assert_eq!(numbers("1\n\n \t\r\n-2\r\n\n").unwrap(), [(1, 1), (4, -2)]);
        assert_eq!(numbers("\n\n").unwrap(), []);
    }

    #[test]
    fn a_line_that_is_no_json_or_refused_is_named() {
        for (text, expected) in [
            ("1\n{", "n.jsonl:2: not JSON"),
            ("1 2", "n.jsonl:1: not JSON"),
            ("1\n\n\"x\"", "n.jsonl:3: not a number"),
        ] {
            let message = numbers(text).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_file_without_lines_says_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.jsonl");
        std::fs::write(&path, "\u{feff}\n \n").unwrap();
        let message = read(&path, "a number", |_, value| Ok(value)).unwrap_err().to_string();
        assert!(message.ends_with("n.jsonl: empty: expected a number a line"), "{message}");
        std::fs::write(&path, "\u{feff}3\n").unwrap();
        assert_eq!(read(&path, "a number", |_, value| Ok(value)).unwrap(), [3]);
    }
}
