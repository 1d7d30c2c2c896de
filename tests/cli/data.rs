//! `perk data`.

use std::fs;

use serde_json::Value;

use super::room::Room;

#[test]
fn a_preview_shows_what_is_read_and_what_is_predicted_and_needs_no_weights() {
    let room = Room::new();
    fs::remove_file(room.path("base/model.safetensors")).unwrap();
    let text = room.prints(&["data", "preview", "--config", "c.toml"]);
    assert!(
        text.starts_with("qa1 #0: ") && text.contains("segment 1: ") && text.contains("question 1: "),
        "{text}"
    );
    assert!(text.contains("[doc _ ") && text.contains("Answer :]"), "{text}");
    let tokens = room.prints(&["data", "preview", "--config", "c.toml", "--tokens"]);
    assert!(tokens.lines().count() > text.lines().count() + 40, "{tokens}");
    let json =
        room.prints(&["data", "preview", "--config", "c.toml", "--json", "--count", "2", "--held-out"]);
    let episodes: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((episodes.len(), &episodes[1]["index"]), (2, &1.into()));
    let sequence = &episodes[0]["queries"][0];
    let weights =
        sequence["tokens"].as_array().unwrap().iter().map(|token| token["weight"].as_f64().unwrap());
    let predicted = weights.filter(|weight| *weight > 0.0).count();
    assert_eq!(predicted, 2, "an answer of one word, and the end token: {sequence}");
}

#[test]
fn episodes_that_were_written_down_are_those_of_the_configuration() {
    let room = Room::new();
    let make = ["data", "make", "--config", "c.toml", "--held-out", "--count", "12", "--out", "train.jsonl"];
    let shown = room.prints(&make);
    assert!(shown.trim_end().ends_with("train.jsonl") && shown.contains("qa1 #0"), "{shown}");
    assert_eq!(fs::read_to_string(room.path("train.jsonl")).unwrap().lines().count(), 12);
    let preview = |more: &[&str]| -> Vec<(Value, Value)> {
        let base = ["data", "preview", "--config", "c.toml", "--json", "--count", "12", "--held-out"];
        let text = room.prints(&[&base[..], more].concat());
        let parse = |line: &str| {
            let episode: Value = serde_json::from_str(line).unwrap();
            (episode["segments"].clone(), episode["queries"].clone())
        };
        text.lines().map(parse).collect()
    };
    let whole = preview(&[]);
    let from = [
        "data.task=files",
        "data.files=['other.jsonl']",
        "data.held_out_files=['train.jsonl']",
        "eval.multiples=[1]",
    ];
    let from: Vec<&str> = from.iter().flat_map(|set| ["--set", set]).collect();
    let read = preview(&from);
    assert_eq!(whole.len(), 12);
    assert_eq!(read, whole, "segments and queries are the same, token by token");
}
