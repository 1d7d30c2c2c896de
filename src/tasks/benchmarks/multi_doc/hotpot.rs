//! HotpotQA's rows.

use std::path::Path;

use serde_json::Value;

use super::super::records::{self, Parsed, Row, list, take, take_text, text, texts};
use super::{Document, Question, Text};
use crate::Result;

/// Reads a file of the distractor setting. `context` is a list of [title, sentences] with `supporting_facts` a
/// list of [title, sentence number], as in the official files, or each is an object of columns, as on the hub.
///
/// # Errors
/// With file, row and field: what is none of these; a supporting title that no document has.
pub(super) fn read(path: &Path) -> Result<Vec<Question>> {
    records::read(path, None, question)
}

fn question(mut row: Row) -> Parsed<Question> {
    let question = take_text(&mut row, "question")?;
    let answers = vec![take_text(&mut row, "answer")?];
    let supporting = pairs(take(&mut row, "supporting_facts")?, "supporting_facts", "sent_id")?;
    let mut support = vec![None; supporting.len()];
    let document = |(title, sentences)| -> Parsed<Document> {
        let sentences = list(sentences, "context.sentences")?.into_iter();
        let sentences = sentences.map(sentence).collect::<Parsed<Vec<_>>>()?;
        let mut supports = false;
        for ((_, number), place) in
            supporting.iter().zip(&mut support).filter(|((named, _), _)| *named == title)
        {
            *place = number
                .as_u64()
                .and_then(|number| sentences.get(number as usize))
                .map(|s| s.trim().to_owned());
            supports = true;
        }
        let sentences: Vec<&str> = sentences.iter().map(|s| s.trim()).filter(|s| !s.is_empty()).collect();
        Ok(Document { title, text: Text::Here(sentences.join(" ")), supports })
    };
    let context = pairs(take(&mut row, "context")?, "context", "sentences")?;
    let documents = context.into_iter().map(document).collect::<Parsed<Vec<_>>>()?;
    if documents.is_empty() {
        return Err("`context` has no document".into());
    }
    let missing = supporting.iter().find(|(title, _)| documents.iter().all(|d| d.title != *title));
    // Some rows of the published files number a sentence that is not there: of these the facts are not known.
    let support = support.into_iter().collect::<Option<Vec<String>>>().unwrap_or_default();
    match missing {
        Some((title, _)) => Err(format!("`supporting_facts`: no document of `context` is called `{title}`")),
        None if supporting.is_empty() => Err("`supporting_facts` is empty".into()),
        None => Ok(Question { question, answers, documents, support }),
    }
}

/// A sentence, which may be blank: some paragraphs of the official files have such.
fn sentence(value: Value) -> Parsed<String> {
    match value {
        Value::String(sentence) => Ok(sentence),
        _ => Err("`context.sentences` is not a list of strings".into()),
    }
}

/// Titles with what belongs to each: a list of pairs, or an object of the columns `title` and `second`.
fn pairs(value: Value, name: &str, second: &str) -> Parsed<Vec<(String, Value)>> {
    if let Value::Object(mut columns) = value {
        let mut column = |column: &str| {
            let value = columns.remove(column).ok_or_else(|| format!("`{name}` has no `{column}`"))?;
            list(value, &format!("{name}.{column}"))
        };
        let titles = texts(Value::Array(column("title")?), &format!("{name}.title"))?;
        let values = column(second)?;
        if titles.len() != values.len() {
            let (titles, values) = (titles.len(), values.len());
            return Err(format!("`{name}` has {titles} of `title` and {values} of `{second}`"));
        }
        return Ok(titles.into_iter().zip(values).collect());
    }
    let pair = |value: Value| match list(value, name).ok().and_then(|pair| <[Value; 2]>::try_from(pair).ok())
    {
        Some([title, value]) => Ok((text(title, &format!("{name}.title"))?, value)),
        None => Err(format!("`{name}` has an entry that is not a pair of title and {second}")),
    };
    list(value, name)?.into_iter().map(pair).collect()
}
