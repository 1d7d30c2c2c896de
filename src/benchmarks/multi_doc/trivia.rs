//! TriviaQA's rows.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::super::records::{
    self, Kept, Parsed, Row, Usable, WITHHELD, list, take, take_answer, take_text, text,
};
use super::{Document, Question, Text};
use crate::Result;

/// The fields of a row that name documents, the field that a text is in where the row holds it, and the folder
/// of the evidence where not.
const SOURCES: [(&str, &str, &str); 2] =
    [("entity_pages", "wiki_context", "wikipedia"), ("search_results", "search_context", "web")];

/// Reads a file of the official form, `Data: [{Question, Answer: {Value, Aliases}, EntityPages, SearchResults}]`
/// with texts in files of the folder `evidence`, or of rows `{question, answer: {value, aliases}, entity_pages,
/// search_results}` that hold the texts. Documents are lists of objects, or objects of columns.
///
/// # Errors
/// With file, row and field: what is neither; a row whose texts are elsewhere without `evidence`. Rows whose answer
/// is withheld, as in the test sets, or that have no document, are left out.
pub(super) fn read(path: &Path, evidence: Option<&Path>) -> Result<Kept<Question>> {
    records::read_usable(path, Some("Data"), |row| question(row, evidence))
}

fn question(mut row: Row, evidence: Option<&Path>) -> Parsed<Usable<Question>> {
    let question = take_text(&mut row, "question")?;
    let answers = match take(&mut row, "answer") {
        Ok(Value::Object(answer)) => answers(answer)?,
        Ok(Value::Null) | Err(_) => Vec::new(),
        Ok(_) => return Err("`answer` is not an object".into()),
    };
    if answers.is_empty() {
        return Ok(Err(WITHHELD));
    }
    let mut documents = Vec::new();
    for (name, text_name, folder) in SOURCES {
        // The official files write `EntityPages`, the rows `entity_pages`.
        let official = official(name);
        let Some(value) = row.remove(name).or_else(|| row.remove(&official)) else { continue };
        for (index, page) in pages(value, name)?.into_iter().enumerate() {
            let evidence = evidence.map(|evidence| evidence.join(folder));
            let document = document(page, text_name, evidence);
            documents.extend(document.map_err(|reason| format!("{name}[{index}]: {reason}"))?);
        }
    }
    if documents.is_empty() {
        return Ok(Err("they have no document in `entity_pages` and `search_results`"));
    }
    Ok(Ok(Question { question, answers, documents, support: Vec::new() }))
}

/// `entity_pages` as `EntityPages`.
fn official(name: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('_').map(capital).collect()
}

/// Value and aliases, each once; none where they are withheld. Blank aliases are none.
fn answers(mut answer: Row) -> Parsed<Vec<String>> {
    let value = take_answer(&mut answer, "value").map_err(|reason| format!("answer: {reason}"))?;
    let Some(value) = value else { return Ok(Vec::new()) };
    let mut answers = vec![value];
    let aliases = match take(&mut answer, "aliases") {
        Err(_) | Ok(Value::Null) => Vec::new(),
        Ok(aliases) => list(aliases, "answer.aliases")?,
    };
    for alias in aliases {
        let Value::String(alias) = alias else {
            return Err("`answer.aliases` is not a list of strings".into());
        };
        let alias = alias.trim().to_owned();
        if !alias.is_empty() && !answers.contains(&alias) {
            answers.push(alias);
        }
    }
    Ok(answers)
}

/// A list of objects, or the rows of an object of columns.
fn pages(value: Value, name: &str) -> Parsed<Vec<Row>> {
    let columns = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Object(columns) => columns,
        other => {
            let row = |value| match value {
                Value::Object(row) => Ok(row),
                _ => Err(format!("`{name}` has an entry that is not an object")),
            };
            return list(other, name)?.into_iter().map(row).collect();
        }
    };
    let mut rows: Vec<Row> = Vec::new();
    for (column, values) in columns {
        let values = list(values, &format!("{name}.{column}"))?;
        if rows.is_empty() {
            rows.resize(values.len(), Row::new());
        }
        if rows.len() != values.len() {
            return Err(format!("`{name}.{column}` has {} entries, others {}", values.len(), rows.len()));
        }
        for (row, value) in rows.iter_mut().zip(values) {
            row.insert(column.clone(), value);
        }
    }
    Ok(rows)
}

/// `None` where the row holds a blank text, or none at all: a page that could not be had. Some pages of the web have no
/// title.
fn document(mut page: Row, text_name: &str, evidence: Option<PathBuf>) -> Parsed<Option<Document>> {
    let title = match take(&mut page, "title")? {
        Value::Null => String::new(),
        Value::String(title) => title,
        _ => return Err("`title` is not a string".into()),
    };
    let here = page.remove(text_name).or_else(|| page.remove("text"));
    match here {
        Some(Value::Null) if evidence.is_none() => return Ok(None),
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(value) => {
            let text = Text::Here(text(value, text_name)?.trim().to_owned());
            return Ok(Some(Document { title, text, supports: true }));
        }
    }
    let file =
        take_text(&mut page, "filename").map_err(|_| format!("neither `{text_name}` nor `filename`"))?;
    let inside = Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        return Err(format!("`filename` `{file}` leads out of the evidence folder"));
    }
    let folder = evidence.ok_or("the text is in a file of the evidence folder, and none is given")?;
    Ok(Some(Document { title, text: Text::File(folder.join(file)), supports: true }))
}
