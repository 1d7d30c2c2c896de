//! API documents and instructions, of small files written here and of APIBench itself.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use perk::benchmarks::ApiRetrieval;
use perk::benchmarks::{Benchmark, Cell, Length, Metric};
use perk::tasks::Position;
use perk::text::{Tokenizer, word_level};
use serde_json::{Value, json};

use crate::cells::{ask, count};
use crate::shared_folder::shared;

fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    word_level::save(folder.path(), ["domain : api_call api_name"]).unwrap();
    Tokenizer::from_folder(folder.path(), None).unwrap()
}

fn api(number: usize) -> Value {
    json!({
        "domain": "Sound", "api_name": format!("net-{number}-"), "api_call": format!("load('net-{number}-')"),
        "description": format!("The API of number {number}."),
    })
}

fn question(number: usize) -> Value {
    let call = format!("load('net-{number}-')");
    let code = format!("###Instruction: Do number {number}.\n###Output: {call}");
    json!({"code": code, "api_call": call, "api_data": api(number)})
}

fn write(folder: &Path, name: &str, rows: impl IntoIterator<Item = Value>) -> PathBuf {
    let path = folder.join(name);
    let lines: Vec<String> = rows.into_iter().map(|row| row.to_string()).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn open(paths: &[PathBuf]) -> perk::Result<ApiRetrieval> {
    ApiRetrieval::open(paths, tokenizer(), 1)
}

fn cell(subtask: &str, tokens: usize, position: Position) -> Cell {
    Cell { subtask: subtask.into(), length: Some(Length::Tokens(tokens)), position }
}

#[test]
fn the_document_that_answers_lies_first_in_the_middle_last_or_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "x_api.jsonl", (0..20).map(api));
    write(folder.path(), "x_eval.json", (0..10).map(question));
    let benchmark = open(&[folder.path().to_owned()]).unwrap();
    assert_eq!((benchmark.subtasks(), benchmark.metric()), (vec!["x_eval".into()], Metric::Substring));
    let mut anywhere = HashSet::new();
    for index in 0..10 {
        let at = |position| {
            let sample = ask(&benchmark, &cell("x_eval", 300, position), index).unwrap();
            assert_eq!(sample.question, format!("Do number {index}."));
            assert_eq!(sample.answers, [format!("load('net-{index}-')"), format!("net-{index}-")]);
            let holds = |d: &&String| d.contains(&format!("api_call: {}\n", sample.answers[0]));
            assert_eq!(sample.documents.iter().filter(holds).count(), 1);
            let place = sample.documents.iter().position(|d| holds(&d)).unwrap();
            let mut sorted = sample.documents;
            sorted.sort();
            (place, sorted)
        };
        let (first, documents) = at(Position::Pre);
        let total = documents.len();
        assert_eq!(first, 0);
        assert_eq!(at(Position::Mid), ((total - 1) / 2, documents.clone()));
        assert_eq!(at(Position::Post), (total - 1, documents.clone()));
        let (place, same) = at(Position::Random);
        anywhere.insert(place);
        assert_eq!(same, documents);
    }
    assert!(anywhere.len() > 3, "{anywhere:?}");
}

#[test]
fn longer_contexts_hold_the_same_documents_and_more_up_to_the_length() {
    let folder = tempfile::tempdir().unwrap();
    let benchmark = open(&[write(folder.path(), "x_eval.json", (0..30).map(question))]).unwrap();
    let tokenizer = tokenizer();
    for index in 0..30 {
        let mut before: Vec<String> = Vec::new();
        for tokens in [0, 120, 400, 800] {
            let sample = ask(&benchmark, &cell("x_eval", tokens, Position::Random), index).unwrap();
            assert!(before.iter().all(|d| sample.documents.contains(d)));
            let found = tokenizer.encode(&sample.documents.join("\n")).unwrap().len();
            let one = tokenizer.encode(&sample.documents[0]).unwrap().len() + 2;
            assert!(tokens == 0 || (found <= tokens && found + one > tokens), "{found} of {tokens}");
            before = sample.documents;
        }
        let random = cell("x_eval", 400, Position::Random);
        assert_eq!(ask(&benchmark, &random, index).unwrap(), ask(&benchmark, &random, index).unwrap());
    }
    assert_eq!(ask(&benchmark, &cell("x_eval", 0, Position::Mid), 0).unwrap().documents.len(), 1);
}

#[test]
fn a_name_counts_as_an_answer_only_where_it_tells_apis_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows: Vec<Value> = (0..4).map(question).collect();
    rows[0]["api_data"]["api_name"] = "load".into();
    rows[1]["api_data"]["api_name"] = "shared".into();
    rows[2]["api_data"]["api_name"] = "shared".into();
    let benchmark = open(&[write(folder.path(), "x_eval.json", rows)]).unwrap();
    let answers = |index| ask(&benchmark, &cell("x_eval", 50, Position::Pre), index).unwrap().answers.len();
    assert_eq!([0, 1, 2, 3].map(answers), [1, 1, 1, 2]);
}

#[test]
fn no_other_document_has_the_call_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows: Vec<Value> = (0..20).map(question).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        let call = format!("load('net-{}-')", i / 2);
        row["api_call"] = call.clone().into();
        row["api_data"]["api_call"] = call.into();
    }
    let benchmark = open(&[write(folder.path(), "x_train.json", rows)]).unwrap();
    for index in 0..20 {
        let sample = ask(&benchmark, &cell("x_train", 350, Position::Random), index).unwrap();
        let holding = sample.documents.iter().filter(|d| d.contains(&sample.answers[0])).count();
        assert!(sample.documents.len() > 5 && holding == 1, "{sample:?}");
    }
}

#[test]
fn a_malformed_row_is_refused_with_file_line_field_and_advice() {
    let folder = tempfile::tempdir().unwrap();
    let with = |field: &str, value: Value| {
        let mut row = question(1);
        *row.pointer_mut(field).unwrap() = value;
        row
    };
    for (row, expected) in [
        (json!([1]), "x.json:2: not a JSON object"),
        (json!({"code": "###Instruction: A.\n###Output: b"}), "x.json:2: `api_data` is not an object"),
        (with("/code", json!("import torch")), "x.json:2: `code` has no instruction: begin it with"),
        (with("/code", json!(null)), "x.json:2: `code` is not a string: write it as one"),
        (with("/api_data/api_call", json!(" ")), "x.json:2: `api_data.api_call` is blank: fill it in"),
        (with("/api_data/api_name", json!(7)), "x.json:2: `api_data.api_name` is not a string"),
        (
            with("/api_call", json!("other()")),
            "x.json:2: `api_call` is not `api_data.api_call`: write the same",
        ),
    ] {
        let path = write(folder.path(), "x.json", [question(0), row]);
        let error = open(&[path]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let path = write(folder.path(), "y.jsonl", [api(0), json!({"domain": "Sound"})]);
    let error = open(&[path]).unwrap_err().to_string();
    assert!(error.contains("y.jsonl:2: `api_call` is missing: add it, or delete the row"), "{error}");
    std::fs::write(folder.path().join("z.json"), "{\"code\": ").unwrap();
    let error = open(&[folder.path().join("z.json")]).unwrap_err().to_string();
    assert!(error.contains("z.json:1: not JSON"), "{error}");
}

#[test]
fn files_and_cells_that_are_not_possible_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let apis = write(folder.path(), "x_api.jsonl", (0..3).map(api));
    let eval = write(folder.path(), "x_eval.json", (0..3).map(question));
    let error = |paths: &[PathBuf]| open(paths).unwrap_err().to_string();
    assert!(error(&[apis]).contains("no file of instructions"));
    assert!(error(&[]).contains("no file of instructions"));
    assert!(error(&[write(folder.path(), "e.json", [])]).contains("e.json: empty"));
    assert!(error(&[eval.clone(), eval.clone()]).contains("another file `x_eval`: rename"));
    assert!(error(&[folder.path().join("none.json")]).contains("none.json"));
    let bare = tempfile::tempdir().unwrap();
    assert!(error(&[bare.path().to_owned()]).contains("no .json or .jsonl file"));

    let benchmark = open(&[eval]).unwrap();
    let random = Position::Random;
    for (cell, index, expected) in [
        (cell("y", 50, random), 0, "no subtask `y`: it has x_eval"),
        (Cell { length: None, ..cell("x_eval", 0, random) }, 0, "a length is needed"),
        (
            Cell { length: Some(Length::Multiple(2)), ..cell("x_eval", 0, random) },
            0,
            "length 2x is not possible",
        ),
        (cell("x_eval", 50, random), 3, "no episode 3 (from 0) among 3"),
        (cell("x_eval", 4_000, random), 0, "x_eval.json: 3 documents have"),
        (cell("x_eval", 4_000, random), 0, "too few for a context of length 4k"),
    ] {
        let error = ask(&benchmark, &cell, index).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(count(&benchmark, &cell("x_eval", 50, random)).unwrap(), Some(3));
    assert!(count(&benchmark, &cell("x_eval", 4_000, random)).is_err());
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn all_of_the_real_apibench_is_asked() {
        let folder = shared("qa/apibench");
        let benchmark = open(&[folder]).unwrap();
        assert_eq!(benchmark.subtasks(), ["tensorflow_eval", "torchhub_eval", "torchhub_train"]);
        for (subtask, rows) in [("tensorflow_eval", 688), ("torchhub_eval", 186), ("torchhub_train", 837)] {
            let cell = cell(subtask, 8_000, Position::Mid);
            assert_eq!(count(&benchmark, &cell).unwrap(), Some(rows));
            for index in 0..rows {
                let sample = ask(&benchmark, &cell, index).unwrap();
                assert!(
                    !sample.question.contains("Output") && !sample.question.contains("###"),
                    "{sample:?}"
                );
                assert!(sample.question.len() > 20, "{}", sample.question);
                let line = format!("api_call: {}\n", sample.answers[0]);
                let places: Vec<usize> =
                    (0..sample.documents.len()).filter(|&i| sample.documents[i].contains(&line)).collect();
                assert_eq!(places, [(sample.documents.len() - 1) / 2], "{}", sample.name);
                assert!(sample.documents.iter().all(|d| d.starts_with("domain: ")));
                assert!(!sample.answers.contains(&"torch.hub.load".to_owned()));
            }
        }
        let error =
            count(&benchmark, &cell("torchhub_eval", 1_000_000, Position::Mid)).unwrap_err().to_string();
        assert!(error.contains("torchhub_api.jsonl: 94 documents") && error.contains("length 1M"), "{error}");
    }
}
