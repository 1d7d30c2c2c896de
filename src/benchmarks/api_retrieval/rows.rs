//! Rows of APIBench files: APIs, and instructions that one of them carries out.

use std::path::Path;

use serde_json::{Map, Value};

use crate::Result;
use crate::json_lines::{self, Parsed, object};

/// Fields of a document in the order that they are written in; others follow.
const FIELDS: [&str; 10] = [
    "domain",
    "framework",
    "functionality",
    "api_name",
    "api_call",
    "api_arguments",
    "python_environment_requirements",
    "example_code",
    "performance",
    "description",
];

/// An API as a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Api {
    /// Lines of `field: value`.
    pub(super) text: String,
    /// The call, as `torch.hub.load(...)`.
    pub(super) call: String,
    /// The name, where there is one; many APIs may share it.
    pub(super) name: Option<String>,
}

/// An instruction, and the API that carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Line in the file, from 1.
    pub(super) line: usize,
    pub(super) instruction: String,
    pub(super) api: Api,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rows {
    /// `torchhub_api.jsonl`: APIs alone.
    Apis(Vec<Api>),
    /// `torchhub_eval.json`: instructions with their APIs.
    Questions(Vec<Row>),
}

/// Reads a file of one JSON object a line. The first row decides which of the two kinds it is.
///
/// # Errors
/// With file, line, field and advice: a row that is no object, lacks a field or has another type there; a file
/// without rows.
pub(super) fn read(path: &Path) -> Result<Rows> {
    let (mut apis, mut questions) = (Vec::new(), Vec::new());
    json_lines::read(path, "APIBench rows, one JSON object", |line, value| {
        let row = object(value)?;
        let of_questions = if apis.is_empty() && questions.is_empty() {
            row.contains_key("api_data")
        } else {
            apis.is_empty()
        };
        if of_questions {
            questions.push(question(&row, line)?);
        } else {
            apis.push(api(&row, "")?);
        }
        Ok(())
    })?;
    Ok(if apis.is_empty() { Rows::Questions(questions) } else { Rows::Apis(apis) })
}

fn question(row: &Map<String, Value>, line: usize) -> Parsed<Row> {
    let code = text(row, "", "code")?;
    let instruction = instruction(code).ok_or(
        "`code` has no instruction: begin it with `###Instruction: …` and a line `###Output: …`, or delete the row",
    )?;
    let Some(Value::Object(data)) = row.get("api_data") else {
        return Err("`api_data` is not an object: give the API's own fields there, or delete the row".into());
    };
    let api = api(data, "api_data.")?;
    if text(row, "", "api_call")? != api.call {
        return Err("`api_call` is not `api_data.api_call`: write the same call in both".into());
    }
    Ok(Row { line, instruction, api })
}

/// An API; `place` is where in the row it lies.
fn api(fields: &Map<String, Value>, place: &str) -> Parsed<Api> {
    let call = text(fields, place, "api_call")?.to_owned();
    let name = match fields.get("api_name") {
        None | Some(Value::Null) => None,
        Some(_) => Some(text(fields, place, "api_name")?.to_owned()),
    };
    let others = fields.keys().map(String::as_str).filter(|field| !FIELDS.contains(field));
    let lines = FIELDS.into_iter().chain(others).filter_map(|field| {
        let value = readable(fields.get(field)?);
        let gap = if value.contains('\n') { '\n' } else { ' ' };
        (!value.is_empty()).then(|| format!("{field}:{gap}{value}"))
    });
    Ok(Api { text: lines.collect::<Vec<_>>().join("\n"), call, name })
}

/// A text that is not blank, without white space around it.
fn text<'a>(fields: &'a Map<String, Value>, place: &str, field: &str) -> Parsed<&'a str> {
    let (fault, advice) = match fields.get(field) {
        Some(Value::String(text)) if !text.trim().is_empty() => return Ok(text.trim()),
        Some(Value::String(_)) => ("is blank", "fill it in"),
        Some(_) => ("is not a string", "write it as one"),
        None => ("is missing", "add it"),
    };
    Err(format!("`{place}{field}` {fault}: {advice}, or delete the row"))
}

/// The instruction of `###Instruction: TEXT\n###Output: …` or `{'Instruction': TEXT, 'Output': …`, in the
/// spellings that occur. Inputs given with it are kept.
fn instruction(code: &str) -> Option<String> {
    let head = code.find("Instruction")?;
    if !code[..head].chars().all(|c| "#{'\" ".contains(c)) {
        return None;
    }
    let rest = code[head + "Instruction".len()..].trim_start_matches(['\'', '"', ' ']).strip_prefix(':')?;
    let ends = ["###Output", "### Output", ", 'Output'", ", \"Output\""];
    let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    let mut text = rest[..end].trim().replace("###Input:", "Input:").replace("### Input:", "Input:");
    if let Some(alone) = text.strip_suffix("Input: <noinput>") {
        text.truncate(alone.trim_end().len());
    }
    for quote in ['\'', '"'] {
        let quoted = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
        if let Some(inside) = quoted.filter(|inside| !inside.contains(quote)) {
            text = inside.to_owned();
        }
    }
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A value without the marks of JSON: items with commas between them, lines of code below each other.
fn readable(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(readable).collect();
            let code =
                items.iter().any(|item| item.contains([',', ';', '=', '\n']) || item.contains("import "));
            items.join(if code { "\n" } else { ", " })
        }
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{name} ({})", readable(value)),
                _ => format!("{name} {}", readable(value)),
            };
            fields.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_found_in_all_their_spellings() {
        for (code, expected) in [
            ("###Instruction: Find it.\n###Output: {'domain': 1}", Some("Find it.")),
            ("### Instruction: Find it.\n### Output: <<<domain>>>", Some("Find it.")),
            ("{'Instruction': Find it., 'Output': {'domain'", Some("Find it.")),
            ("{'Instruction': \"I'm lost.\", 'Output':{'domain'", Some("I'm lost.")),
            ("###Instruction: Find it?", Some("Find it?")),
            (
                "###Instruction: Find it.\n###Input: \"a.jpg\"\n###Output: x",
                Some("Find it.\nInput: \"a.jpg\""),
            ),
            ("###Instruction: Find it.\n\n###Input: <noinput>\n###Output: x", Some("Find it.")),
            ("###Instruction: \n###Output: x", None),
            ("import torch  # Instruction: no", None),
            ("", None),
        ] {
            assert_eq!(instruction(code).as_deref(), expected, "{code}");
        }
    }

    #[test]
    fn documents_are_lines_of_field_and_value_in_a_fixed_order() {
        let line = r#"{"zeal": 3, "description": "Good.", "performance": {"set": "A", "top": {"1": 7, "5": 9}},
            "api_call": "f(x)", "api_arguments": ["x", "y"], "domain": "Sound", "example_code": ["a = 1", "f(a)"]}"#;
        let api = api(&object(serde_json::from_str(line).unwrap()).unwrap(), "").unwrap();
        assert_eq!(
            api.text,
            "domain: Sound\napi_call: f(x)\napi_arguments: x, y\nexample_code:\na = 1\nf(a)\n\
             performance: set A, top (1 7, 5 9)\ndescription: Good.\nzeal: 3"
        );
        assert_eq!((api.call.as_str(), api.name), ("f(x)", None));
    }
}
