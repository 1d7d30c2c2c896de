//! Reader of JSONL episodes: one object a line, with a context and questions.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Episode, Qa};
use crate::Result;
use crate::json_lines::{self, Parsed, object};

/// Reads episodes. A line is an object with `context` (a string or a list of strings) and either `question`,
/// `answer` (a string, or a list of all that count as right, the one to train on first) and optional `support` (a
/// string or a list of strings), or `qa`, a list of objects of these. An `id`
/// (a string or a number) goes into the episode's name. Blank lines are left out.
///
/// # Errors
/// With file, line and reason, for anything else: unknown or doubled meanings, empty texts; an
/// empty file.
pub fn read(path: &Path) -> Result<Vec<Episode>> {
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    json_lines::read(path, "a JSON object", |line, value| episode(object(value)?, format!("{file}:{line}")))
}

fn episode(mut fields: Map<String, Value>, name: String) -> Parsed<Episode> {
    let name = match take_id(&mut fields)? {
        Some(id) => format!("{name} ({id})"),
        None => name,
    };
    let documents = texts(&mut fields, "context")?.ok_or("no `context`")?;
    if documents.is_empty() {
        return Err("`context` is an empty list".into());
    }
    let qa = match fields.remove("qa") {
        None => vec![question(fields)?],
        Some(Value::Array(list)) if !list.is_empty() => {
            refuse_others(&fields)?;
            list.into_iter().enumerate().map(nested).collect::<Parsed<_>>()?
        }
        Some(_) => return Err("`qa` is not a list of one object or more".into()),
    };
    let facts = qa.iter().flat_map(|qa| qa.support.clone()).collect();
    Ok(Episode { name, documents, facts, qa })
}

fn nested((index, value): (usize, Value)) -> Parsed<Qa> {
    let fault = |reason: String| format!("qa[{index}]: {reason}");
    object(value).and_then(question).map_err(fault)
}

fn question(mut fields: Map<String, Value>) -> Parsed<Qa> {
    take_id(&mut fields)?;
    let question = text(&mut fields, "question")?;
    let answers = answers(&mut fields)?;
    let support = texts(&mut fields, "support")?.unwrap_or_default();
    refuse_others(&fields)?;
    Ok(Qa { question, answers, support })
}

/// The accepted answers: one text, or a list of them, without white space around.
fn answers(fields: &mut Map<String, Value>) -> Parsed<Vec<String>> {
    if !matches!(fields.get("answer"), Some(Value::Array(_))) {
        return Ok(vec![text(fields, "answer")?]);
    }
    match texts(fields, "answer")? {
        Some(answers) if !answers.is_empty() => {
            Ok(answers.into_iter().map(|answer| answer.trim().to_owned()).collect())
        }
        _ => Err("`answer` is an empty list".into()),
    }
}

/// What a person calls the episode, or one of its questions.
fn take_id(fields: &mut Map<String, Value>) -> Parsed<Option<String>> {
    match fields.remove("id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(Value::Number(id)) => Ok(Some(id.to_string())),
        Some(_) => Err("`id` is neither a string nor a number".into()),
    }
}

fn refuse_others(fields: &Map<String, Value>) -> Parsed<()> {
    match fields.keys().next() {
        Some(name) => Err(format!(
            "field `{name}` is not known here: `context` goes with `question`, `answer` and `support`, or with `qa`"
        )),
        None => Ok(()),
    }
}

/// A text that is not empty, without white space around it.
fn text(fields: &mut Map<String, Value>, name: &str) -> Parsed<String> {
    match fields.remove(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Some(Value::String(_)) => Err(format!("`{name}` is empty")),
        Some(_) => Err(format!("`{name}` is not a string")),
        None => Err(format!("no `{name}`")),
    }
}

/// One text or a list of them, as they are; `None` where the field is missing.
fn texts(fields: &mut Map<String, Value>, name: &str) -> Parsed<Option<Vec<String>>> {
    let list = match fields.remove(name) {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    let one = |(index, value): (usize, Value)| match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        Value::String(_) => Err(format!("`{name}` is empty (text {index}, from 0)")),
        _ => Err(format!("`{name}` is neither a string nor a list of strings")),
    };
    list.into_iter().enumerate().map(one).collect::<Parsed<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn read_text_of(text: impl AsRef<[u8]>) -> Result<Vec<Episode>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn both_forms_of_context_and_of_questions_are_read() {
        let text = "\u{feff}{\"context\": \"A. B.\", \"question\": \"Q? \", \"answer\": \"a\", \"support\": \"A.\"}\n\
                    {\"context\": [\"A.\", \"B.\"], \"qa\": [{\"question\": \"Q\", \"answer\": \"1\"}, \
                    {\"question\": \"R\", \"answer\": \"2\", \"support\": [\"A.\", \"B.\"]}]}\r\n";
        let episodes = read_text_of(text).unwrap();
        assert_eq!(episodes[0].documents, ["A. B."]);
        assert_eq!((episodes[0].qa[0].question.as_str(), episodes[0].qa[0].support.len()), ("Q?", 1));
        assert_eq!((episodes[1].documents.len(), episodes[1].qa.len()), (2, 2));
        assert!(episodes[1].name.ends_with(":2"));
    }

    #[test]
    fn blank_lines_are_left_out_and_an_id_names_its_episode() {
        let line = |id: &str| {
            format!("{{\"id\": {id}, \"context\": \"A.\", \"question\": \"Q\", \"answer\": \"a\"}}")
        };
        let nested = "{\"context\": \"A.\", \"qa\": [{\"id\": 1, \"question\": \"Q\", \"answer\": \"a\"}]}";
        let text = format!("{}\n\n{}\n{nested}\n \n\n", line("\"q7\""), line("8"));
        let names: Vec<String> =
            read_text_of(text).unwrap().into_iter().map(|episode| episode.name).collect();
        let ends = [":1 (q7)", ":3 (8)", ":4"];
        assert!(
            names.iter().zip(ends).all(|(name, end)| name.ends_with(end)) && names.len() == 3,
            "{names:?}"
        );
    }

    #[test]
    fn an_answer_may_be_a_list_of_all_that_count_as_right() {
        let line =
            |answer: &str| format!("{{\"context\": \"A.\", \"question\": \"Q\", \"answer\": {answer}}}");
        let qa = read_text_of(line("[\" New York \", \"NYC\"]")).unwrap().remove(0).qa.remove(0);
        assert_eq!(
            (qa.answer(), qa.answers.as_slice()),
            ("New York", &["New York".into(), "NYC".into()][..])
        );
        for (answer, reason) in [("[]", "empty list"), ("[\"\"]", "`answer` is empty"), ("[1]", "`answer`")] {
            let message = read_text_of(line(answer)).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn every_bad_line_is_refused_with_its_number_and_reason() {
        let good = "{\"context\": \"A.\", \"question\": \"Q\", \"answer\": \"a\"}";
        for (line, reason) in [
            ("{\"id\": [], \"context\": \"A\", \"question\": \"Q\", \"answer\": \"a\"}", "`id` is neither"),
            ("{", "not JSON"),
            ("[]", "not a JSON object"),
            ("{\"question\": \"Q\", \"answer\": \"a\"}", "no `context`"),
            ("{\"context\": [], \"question\": \"Q\", \"answer\": \"a\"}", "empty list"),
            (
                "{\"context\": [\"a\", \" \"], \"question\": \"Q\", \"answer\": \"a\"}",
                "`context` is empty (text 1",
            ),
            ("{\"context\": 3, \"question\": \"Q\", \"answer\": \"a\"}", "`context` is neither"),
            ("{\"context\": \"A\", \"answer\": \"a\"}", "no `question`"),
            ("{\"context\": \"A\", \"question\": \"Q\", \"answer\": \"\"}", "`answer` is empty"),
            ("{\"context\": \"A\", \"question\": \"Q\", \"answer\": 3}", "`answer` is not a string"),
            ("{\"context\": \"A\", \"question\": \"Q\", \"anwser\": \"a\", \"answer\": \"a\"}", "`anwser`"),
            ("{\"context\": \"A\", \"qa\": []}", "`qa`"),
            ("{\"context\": \"A\", \"qa\": [{\"question\": \"Q\"}]}", "qa[0]: no `answer`"),
            (
                "{\"context\": \"A\", \"qa\": [{\"question\": \"Q\", \"answer\": \"a\"}], \"answer\": \"a\"}",
                "`answer`",
            ),
        ] {
            match read_text_of(format!("{good}\n{line}\n{good}\n")) {
                Err(Error::Data { line: 2, reason: message, .. }) => {
                    assert!(message.contains(reason), "{message}")
                }
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(read_text_of("").unwrap_err().to_string().contains("empty"));
        assert!(read_text_of([b'{', 0xff]).is_err());
    }
}
