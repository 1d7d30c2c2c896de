//! A base whose tokenizer begins every text with a token of its own.

use std::fs;

use serde_json::{Value, json};

use super::room::{Room, STORY, message};

const QUESTION: &str = "Where is Mary?";
const TRAIN: [&str; 6] = ["--config", "c.toml", "--set", "eval.multiples=[1]", "--set", "eval.episodes=1"];

/// A room whose base begins texts with `<pad>`.
fn room() -> Room {
    let room = Room::new();
    let begin = json!({"SpecialToken": {"id": "<pad>", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    room.change_json("base/tokenizer.json", |file| {
        file["post_processor"] = json!({
            "type": "TemplateProcessing", "single": [begin, text], "pair": [text],
            "special_tokens": {"<pad>": {"id": "<pad>", "ids": [0], "tokens": ["<pad>"]}},
        });
    });
    fs::write(room.path("story.txt"), STORY).unwrap();
    room
}

fn encode(room: &Room, more: &[&str]) -> Value {
    room.prints(&[&["encode", "--context", "story.txt", "--out", "memory", "--force"], more].concat());
    room.json("memory/perk.json")
}

fn prompt_tokens(room: &Room) -> u64 {
    let printed = room.prints(&["ask", "--adapter", "memory", "--json", QUESTION]);
    serde_json::from_str::<Value>(&printed).unwrap()["prompt_tokens"].as_u64().unwrap()
}

#[test]
fn it_begins_every_segment_and_every_prompt_and_is_recorded() {
    let room = room();
    room.succeed(&TRAIN);
    let config = fs::read_to_string(room.path("runs/tiny/config.toml")).unwrap();
    assert!(config.contains("begin_token = \"<pad>\""), "{config}");
    let record = encode(&room, &[]);
    assert_eq!(record["base"]["model"]["begin_token"], "<pad>");
    assert_eq!(prompt_tokens(&room), 9, "`Question: Where is Mary? Answer:` has 8");
    let bare = encode(&room, &["--untrained", "c.toml", "--set", "model.begin_token="]);
    assert_eq!(bare["base"]["model"]["begin_token"], "");
    assert_eq!(prompt_tokens(&room), 8);
    let tokens = |record: &Value| record["context"]["tokens"].as_u64().unwrap();
    assert_eq!(tokens(&record), tokens(&bare) + bare["context"]["segments"].as_u64().unwrap());
    let again = encode(&room, &["--untrained", "c.toml"]);
    assert_eq!((tokens(&again), prompt_tokens(&room)), (tokens(&record), 9));
    assert_ne!(again["key"], bare["key"], "another adapter");
    room.prints(&["eval", "--task", "held-out", "--lengths", "1x", "--samples", "1", "--out", "e"]);
    assert_eq!(room.json("e/settings.json")["begin_token"], "<pad>");
}

#[test]
fn what_was_trained_without_it_goes_on_without_it() {
    let room = room();
    room.succeed(&[&TRAIN[..], &["--set", "model.begin_token="]].concat());
    let record = encode(&room, &[]);
    // As versions that knew of no such token wrote it.
    let older = |text: &str| text.replace("begin_token = \"\"\n", "");
    for run in ["last", "best"] {
        room.change_json(&format!("runs/tiny/checkpoints/{run}/state.json"), |state| {
            let config = state["config"].as_str().unwrap().to_owned();
            assert_ne!(older(&config), config);
            state["config"] = older(&config).into();
        });
    }
    let config = fs::read_to_string(room.path("runs/tiny/config.toml")).unwrap();
    fs::write(room.path("runs/tiny/config.toml"), older(&config)).unwrap();
    assert_eq!(encode(&room, &[])["key"], record["key"]);
    room.change_json("memory/perk.json", |record| {
        record["base"]["model"].as_object_mut().unwrap().remove("begin_token");
    });
    assert_eq!(prompt_tokens(&room), 8);
    room.succeed(&["--resume", "runs/tiny"]);
    room.succeed(&[&TRAIN[..], &["--resume", "runs/tiny"]].concat());
    let asked = ["--config", "c.toml", "--resume", "runs/tiny", "--set", "model.begin_token=<pad>"];
    let refused = message(&room.run(&asked), 1);
    assert!(refused.contains("model.begin_token: now \"<pad>\", saved \"\""), "{refused}");
}

#[test]
fn a_tokenizer_on_which_its_library_panics_is_one_error_and_nothing_else() {
    let room = room();
    room.change_json("base/tokenizer.json", |file| {
        file["decoder"] = json!({"type": "Strip", "content": ".", "start": 0, "stop": 1000});
    });
    let refused = room.fail(&TRAIN, 1);
    assert!(refused.contains("library panics on it") && refused.lines().count() == 1, "{refused}");
}
