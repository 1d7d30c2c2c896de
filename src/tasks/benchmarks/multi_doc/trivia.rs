//! TriviaQA's rows.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::super::records::{self, Parsed, Row, list, take, take_text, text, texts};
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
/// With file, row and field: what is neither; a row without documents, or whose texts are elsewhere without
/// `evidence`.
pub(super) fn read(path: &Path, evidence: Option<&Path>) -> Result<Vec<Question>> {
    records::read(path, Some("Data"), |row| question(row, evidence))
}

fn question(mut row: Row, evidence: Option<&Path>) -> Parsed<Question> {
    let question = take_text(&mut row, "question")?;
    let answers = answers(take(&mut row, "answer")?)?;
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
        return Err("no documents in `entity_pages` and `search_results`".into());
    }
    Ok(Question { question, answers, documents, support: Vec::new() })
}

/// `entity_pages` as `EntityPages`.
fn official(name: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('_').map(capital).collect()
}

/// Value and aliases, each once.
fn answers(answer: Value) -> Parsed<Vec<String>> {
    let Value::Object(mut answer) = answer else { return Err("`answer` is not an object".into()) };
    let mut answers = vec![take_text(&mut answer, "value").map_err(|reason| format!("answer: {reason}"))?];
    if let Ok(aliases) = take(&mut answer, "aliases") {
        for alias in texts(aliases, "answer.aliases")? {
            if !answers.contains(&alias) {
                answers.push(alias);
            }
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

/// `None` where the row holds a blank text: a page that could not be had.
fn document(mut page: Row, text_name: &str, evidence: Option<PathBuf>) -> Parsed<Option<Document>> {
    let title = take_text(&mut page, "title")?;
    let here = page.remove(text_name).or_else(|| page.remove("text"));
    match here {
        None => {}
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
