//! Rows of data files: JSON arrays, JSON lines and Parquet.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Deserializer, Map, Value};

use crate::error::shown_path;
use crate::files::read_text;
use crate::{Error, Result, parquet_rows};

/// A row by the names of its columns.
pub(super) type Row = Map<String, Value>;
/// Or what is wrong with a row.
pub(super) type Parsed<T> = std::result::Result<T, String>;

/// A row to ask, or why it cannot be asked though it is well-formed: `they have no document`.
pub(super) type Usable<T> = std::result::Result<T, &'static str>;

/// The rows of a file that can be asked.
pub(super) struct Kept<T> {
    /// With their numbers in the file, from 1.
    pub(super) rows: Vec<(usize, T)>,
    /// What to tell a person of the others, a line a reason.
    pub(super) notes: Vec<String>,
}

/// Why a row of a test set is left out.
pub(super) const WITHHELD: &str = "they have no answer, as in a test set";

/// What the published files write in the place of an answer that they withhold.
const WITHHOLDING: &str = "<unk>";

/// As [`read`], of rows of which some cannot be asked: they are counted, and the rest is taken.
///
/// # Errors
/// As [`read`], and a file of which no row can be asked.
pub(super) fn read_usable<T>(
    path: &Path,
    wrapper: Option<&str>,
    make: impl Fn(Row) -> Parsed<Usable<T>>,
) -> Result<Kept<T>> {
    let (mut rows, mut others) = (Vec::new(), BTreeMap::<&str, Vec<usize>>::new());
    let all = read(path, wrapper, make)?;
    let count = all.len();
    for (index, row) in all.into_iter().enumerate() {
        match row {
            Ok(row) => rows.push((index + 1, row)),
            Err(reason) => others.entry(reason).or_default().push(index + 1),
        }
    }
    let note = |(reason, rows): (&str, Vec<usize>)| {
        format!("{} of {count} rows are not asked, for {reason}: {}", rows.len(), listed(&rows))
    };
    let notes: Vec<String> = others.into_iter().map(note).collect();
    if rows.is_empty() {
        return Err(Error::file(path, notes.join("; ")));
    }
    let named = |note: String| format!("{}: {note}", shown_path(path));
    Ok(Kept { rows, notes: notes.into_iter().map(named).collect() })
}

/// The first numbers of rows.
fn listed(rows: &[usize]) -> String {
    const SHOWN: usize = 10;
    let first: Vec<String> = rows.iter().take(SHOWN).map(usize::to_string).collect();
    let more = if rows.len() > SHOWN { ", …" } else { "" };
    let noun = if rows.len() == 1 { "row" } else { "rows" };
    format!("{noun} {}{more}", first.join(", "))
}

/// An answer without white space around it; `None` where it is withheld: missing, null, blank or `<unk>`.
pub(super) fn take_answer(row: &mut Row, name: &str) -> Parsed<Option<String>> {
    match take(row, name) {
        Err(_) | Ok(Value::Null) => Ok(None),
        Ok(Value::String(text)) => {
            Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != WITHHOLDING))
        }
        Ok(_) => Err(format!("`{name}` is not a string")),
    }
}

/// Reads the rows of a file and makes something of each.
///
/// Names that end in `.parquet` are Parquet files, all others JSON: an array of objects, objects one after
/// another (JSON lines), or one object that holds the array in its field `wrapper`.
///
/// # Errors
/// With file, row number from 1, and reason: what is neither, a row that is no object, what `make` refuses; a
/// file without rows.
pub(super) fn read<T>(path: &Path, wrapper: Option<&str>, make: impl Fn(Row) -> Parsed<T>) -> Result<Vec<T>> {
    let values = if path.extension().is_some_and(|e| e == "parquet") {
        parquet_rows::all(path)?
    } else {
        json_rows(path, wrapper)?
    };
    let row = |(index, value): (usize, Value)| match value {
        Value::Object(row) => make(row).map_err(|reason| fault(path, index, &reason)),
        _ => Err(fault(path, index, "not a JSON object")),
    };
    let rows = values.into_iter().enumerate().map(row).collect::<Result<Vec<T>>>()?;
    if rows.is_empty() {
        return Err(Error::file(path, "no rows"));
    }
    Ok(rows)
}

/// The error of the row of this index, which people count from 1.
fn fault(path: &Path, index: usize, reason: &str) -> Error {
    Error::file(path, format!("row {}: {reason}", index + 1))
}

fn json_rows(path: &Path, wrapper: Option<&str>) -> Result<Vec<Value>> {
    let text = read_text(path)?;
    let text = text.trim_start();
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|e| Error::file(path, format!("not a JSON array: {e}")));
    }
    let mut values = Vec::new();
    for value in Deserializer::from_str(text).into_iter::<Value>() {
        values.push(value.map_err(|e| fault(path, values.len(), &format!("not JSON: {e}")))?);
    }
    if let (Some(name), [Value::Object(object)]) = (wrapper, values.as_mut_slice())
        && let Some(Value::Array(wrapped)) = object.remove(name)
    {
        return Ok(wrapped);
    }
    Ok(values)
}

/// The column, whatever the case of its first letter: TriviaQA's own files say `Question`, copies of them
/// `question`.
pub(super) fn take(row: &mut Row, name: &str) -> Parsed<Value> {
    let mut capital = name.to_owned();
    capital[..1].make_ascii_uppercase();
    let value = row.remove(name).or_else(|| row.remove(&capital));
    value.ok_or_else(|| format!("no `{name}`"))
}

/// A text that is not blank, as it is.
pub(super) fn take_text(row: &mut Row, name: &str) -> Parsed<String> {
    text(take(row, name)?, name)
}

/// The value as a text that is not blank; `name` says in messages what it is.
pub(super) fn text(value: Value, name: &str) -> Parsed<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        Value::String(_) => Err(format!("`{name}` is empty")),
        _ => Err(format!("`{name}` is not a string")),
    }
}

/// The value as a list.
pub(super) fn list(value: Value, name: &str) -> Parsed<Vec<Value>> {
    match value {
        Value::Array(list) => Ok(list),
        _ => Err(format!("`{name}` is not a list")),
    }
}

/// The value as a list of texts, none of them blank.
pub(super) fn texts(value: Value, name: &str) -> Parsed<Vec<String>> {
    list(value, name)?.into_iter().map(|value| text(value, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_rows::tests::write_parquet;

    fn read_text(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path, Some("Data"), |mut row| take_text(&mut row, "a"))
    }

    #[test]
    fn arrays_lines_and_wrapped_arrays_are_the_same_rows() {
        for text in [
            "[{\"a\": \"x\"}, {\"a\": \"y\", \"b\": 1}]",
            "\u{feff}{\"a\": \"x\"}\n{\"A\": \"y\"}\n",
            "{\"Version\": 1,\n\"Data\": [{\"a\": \"x\"},\n {\"a\": \"y\"}]}",
        ] {
            assert_eq!(read_text("rows.json", text).unwrap(), ["x", "y"], "{text}");
        }
    }

    #[test]
    fn a_parquet_file_gives_its_columns_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        write_parquet(&path, &[("b", &["1", "2"]), ("a", &["x", "y ü"])]);
        let rows = read(&path, None, |mut row| Ok((take_text(&mut row, "a")?, take_text(&mut row, "b")?)));
        assert_eq!(rows.unwrap(), [("x".into(), "1".into()), ("y ü".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn every_bad_file_is_named_with_row_and_reason() {
        for (name, text, reason) in [
            ("r.json", "", "r.json: no rows"),
            ("r.json", "[]", "r.json: no rows"),
            ("r.json", "[{\"a\": \"x\"}", "r.json: not a JSON array"),
            ("r.jsonl", "{\"a\": \"x\"}\n{\"a\"}", "r.jsonl: row 2: not JSON"),
            ("r.json", "[{\"a\": \"x\"}, 3]", "row 2: not a JSON object"),
            ("r.json", "[{\"b\": \"x\"}]", "row 1: no `a`"),
            ("r.json", "[{\"a\": \"x\"}, {\"a\": \" \"}]", "row 2: `a` is empty"),
            ("r.json", "[{\"a\": 3}]", "row 1: `a` is not a string"),
            ("r.parquet", "PAR1, or not", "r.parquet: not a Parquet file"),
        ] {
            let error = read_text(name, text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(read_text("r.json", [b'[', 0xff]).is_err());
        let missing = read(Path::new("no/such.parquet"), None, Ok).unwrap_err().to_string();
        assert!(missing.contains("no/such.parquet"), "{missing}");
    }
}
