//! HotpotQA's rows.

use std::path::Path;

use serde_json::Value;

use super::super::records::{
    self, Kept, Parsed, Row, Usable, WITHHELD, list, take, take_answer, take_text, text, texts,
};
use super::{Document, Question, Text};
use crate::Result;

/// Reads a file of the distractor setting. `context` is a list of [title, sentences] with `supporting_facts` a
/// list of [title, sentence number], as in the official files, or each is an object of columns, as on the hub.
///
/// # Errors
/// With file, row and field: what is none of these. Rows whose answer is withheld, as in the test sets, or that do not
/// hold the documents which support it, as in the fullwiki setting, are left out.
pub(super) fn read(path: &Path) -> Result<Kept<Question>> {
    records::read_usable(path, None, question)
}

fn question(mut row: Row) -> Parsed<Usable<Question>> {
    let question = take_text(&mut row, "question")?;
    let Some(answer) = take_answer(&mut row, "answer")? else { return Ok(Err(WITHHELD)) };
    let supporting = pairs(take(&mut row, "supporting_facts")?, "supporting_facts", "sent_id")?;
    let context = pairs(take(&mut row, "context")?, "context", "sentences")?.into_iter();
    let context = context.map(|(title, list)| Ok((title, sentences(list)?))).collect::<Parsed<Vec<_>>>()?;
    if context.is_empty() {
        return Ok(Err("their context has no document"));
    }
    if supporting.is_empty() {
        return Ok(Err("their supporting facts are not given"));
    }
    if supporting.iter().any(|(title, _)| context.iter().all(|(other, _)| other != title)) {
        return Ok(Err("a document that supports their answer is not in their context"));
    }
    // Some rows of the published files number a sentence that is not there: of these the facts are not known.
    let support = supporting.iter().map(|(title, number)| fact(&context, title, number));
    let support = support.collect::<Option<Vec<String>>>().unwrap_or_default();
    let document = |(title, sentences): (String, Vec<String>)| {
        let supports = supporting.iter().any(|(named, _)| *named == title);
        let text =
            sentences.into_iter().filter(|sentence| !sentence.is_empty()).collect::<Vec<_>>().join(" ");
        Document { title, text: Text::Here(text), supports }
    };
    let documents = context.into_iter().map(document).collect();
    Ok(Ok(Question { question, answers: vec![answer], documents, support }))
}

/// The sentence of that number, from 0, in the document of that title; `None` where there is none.
fn fact(context: &[(String, Vec<String>)], title: &str, number: &Value) -> Option<String> {
    let (_, sentences) = context.iter().find(|(named, _)| named == title)?;
    let sentence = sentences.get(usize::try_from(number.as_u64()?).ok()?)?;
    (!sentence.is_empty()).then(|| sentence.clone())
}

fn sentences(value: Value) -> Parsed<Vec<String>> {
    list(value, "context.sentences")?.into_iter().map(sentence).collect()
}

/// A sentence without white space around it; some paragraphs of the official files have blank ones.
fn sentence(value: Value) -> Parsed<String> {
    match value {
        Value::String(sentence) => Ok(sentence.trim().to_owned()),
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
