//! Bases with a chat template.

use std::fs;

use serde_json::{Value, json};

use super::room::{Room, STORY, message};

const QUESTION: &str = "Where is Mary?";
const TRAIN: [&str; 6] = ["--config", "c.toml", "--set", "eval.multiples=[1]", "--set", "eval.episodes=1"];
const CHAT: [&str; 2] = ["--set", "data.chat_template=default"];

/// Turns begin with `<pad>` and end with `<unk>`, for those are control tokens of the tokenizer.
const TEMPLATE: &str = "{% for m in messages %}<pad>{{ 'Question : ' if m.role == 'user' }}{{ m.content }}<unk>\n\
    {%- endfor %}{% if add_generation_prompt %}<pad>Answer :{% endif %}";
/// What that template is to perk.
const FORM: &str = "<pad>Question : {message}<unk><pad>Answer :";

/// A room whose base has that template.
fn room() -> Room {
    let room = Room::new();
    room.change_json("base/tokenizer_config.json", |config| config["chat_template"] = TEMPLATE.into());
    fs::write(room.path("story.txt"), STORY).unwrap();
    room
}

fn encode(room: &Room, more: &[&str]) -> Value {
    room.prints(&[&["encode", "--context", "story.txt", "--out", "memory", "--force"], more].concat());
    room.json("memory/perk.json")
}

fn reply(room: &Room, more: &[&str]) -> Value {
    let printed = room.prints(&[&["ask", "--adapter", "memory", "--json", QUESTION], more].concat());
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn the_template_is_used_from_training_to_the_answer_and_recorded() {
    let room = room();
    room.succeed(&[&TRAIN[..], &CHAT].concat());
    let config = fs::read_to_string(room.path("runs/tiny/config.toml")).unwrap();
    assert!(config.contains(&format!("chat_template = \"{FORM}\"")), "{config}");
    assert!(config.contains("end_token = \"<unk>\""), "{config}");
    let record = encode(&room, &[]);
    assert_eq!(record["recipe"]["chat_template"], FORM);
    assert_eq!(record["base"]["model"]["end_token"], "<unk>");
    // `Question: Where is Mary? Answer:` has 8 tokens, what stands around them 7.
    let asked = reply(&room, &["--in-context", "story.txt"]);
    assert_eq!(asked["prompt_tokens"], 15);
    let text = fs::read_to_string(room.path("story.txt")).unwrap();
    let words =
        perk::text::Tokenizer::from_folder(&room.path("base"), None).unwrap().encode(&text).unwrap().len();
    assert_eq!(asked["in_context"]["prompt_tokens"], 15 + words);
    room.prints(&[
        "eval",
        "--task",
        "held-out",
        "--lengths",
        "1x",
        "--samples",
        "1",
        "--method",
        "perk,icr",
        "--out",
        "e",
    ]);
    let sample = fs::read_to_string(room.path("e/samples.jsonl")).unwrap();
    assert!(!sample.is_empty());
    assert_eq!(room.json("e/settings.json")["data_config"]["chat_template"], FORM);
    // Another template of the base does not change what was learned with this one.
    room.change_json("base/tokenizer_config.json", |config| {
        config["chat_template"] = "{{ messages }}".into()
    });
    assert_eq!(reply(&room, &[])["prompt_tokens"], 15);
    assert_eq!(encode(&room, &[])["key"], record["key"]);
}

#[test]
fn a_configuration_that_says_nothing_of_templates_is_as_before() {
    let (with, without) = (room(), Room::new());
    fs::write(without.path("story.txt"), STORY).unwrap();
    for room in [&with, &without] {
        room.succeed(&TRAIN);
        let config = fs::read_to_string(room.path("runs/tiny/config.toml")).unwrap();
        assert!(!config.contains("chat_template") && !config.contains("end_token"), "{config}");
    }
    assert_eq!(with.metrics("runs/tiny"), without.metrics("runs/tiny"));
    let records = [&with, &without].map(|room| encode(room, &[]));
    assert_eq!(records[0]["key"], records[1]["key"]);
    assert_eq!(records[0]["recipe"].get("chat_template"), None);
    assert_eq!(reply(&with, &[])["prompt_tokens"], 8);
    room_without_a_template_is_plain_with_auto(&without);
}

fn room_without_a_template_is_plain_with_auto(room: &Room) {
    let auto = encode(room, &["--untrained", "c.toml", "--set", "data.chat_template=auto"]);
    assert_eq!(auto["recipe"].get("chat_template"), None);
    let none = encode(room, &["--untrained", "c.toml", "--set", "data.chat_template=none"]);
    assert_eq!(none["recipe"], auto["recipe"]);
}

#[test]
fn a_run_goes_on_with_its_template_and_not_with_another() {
    let room = room();
    room.succeed(&[&TRAIN[..], &CHAT].concat());
    room.succeed(&["--resume", "runs/tiny"]);
    room.succeed(&[&TRAIN[..], &CHAT, &["--resume", "runs/tiny"]].concat());
    let refused = room.fail(&[&TRAIN[..], &["--resume", "runs/tiny"]].concat(), 1);
    assert!(refused.contains("data.chat_template: now null, saved"), "{refused}");
    room.change_json("base/tokenizer_config.json", |config| {
        config["chat_template"] = TEMPLATE.replace("Question : ", "").into();
    });
    let refused = room.fail(&[&TRAIN[..], &CHAT, &["--resume", "runs/tiny"]].concat(), 1);
    assert!(refused.contains("data.chat_template: now \"<pad>{message}"), "{refused}");
}

#[test]
fn a_form_of_ones_own_stands_in_the_place_of_a_template() {
    let room = Room::new();
    fs::write(room.path("story.txt"), STORY).unwrap();
    let own = [
        "--untrained",
        "c.toml",
        "--set",
        "data.chat_template=<pad>{message}<unk>",
        "--set",
        "model.end_token=<pad>",
    ];
    assert_eq!(encode(&room, &own)["recipe"]["chat_template"], "<pad>{message}<unk>");
    assert_eq!(reply(&room, &[])["prompt_tokens"], 10);
    let refused = room.fail(&["--config", "c.toml", "--set", "data.chat_template=<pad>{massage}"], 2);
    assert!(refused.contains("data.chat_template: must hold {message}"), "{refused}");
}

#[test]
fn a_template_that_cannot_be_used_is_one_error_with_its_file() {
    let room = room();
    let asked = |name: &str| {
        ["--config", "c.toml", "--set", &format!("data.chat_template={name}")].map(str::to_owned)
    };
    let fails = |name: &str| {
        let arguments = asked(name);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        message(&room.run(&arguments), 1)
    };
    assert!(fails("tool_use").contains("has no chat template `tool_use`, and there is `default`"));
    for (template, expected) in [
        (json!("a\n{% for %}"), "`chat_template`, line 2: the template is no Jinja: "),
        (json!("{{ messages[0].content | upper }}"), "as it is"),
        (json!("{{ messages[-1].content }}"), "model.end_token"),
        (json!(["x"]), "neither text nor a list"),
    ] {
        room.change_json("base/tokenizer_config.json", |config| config["chat_template"] = template);
        let refused = fails("default");
        assert!(refused.contains(expected) && refused.contains("base"), "{refused}");
    }
    fs::write(room.path("base/chat_template.jinja"), "a\n\n{% if %}").unwrap();
    room.change_json("base/tokenizer_config.json", |config| config["chat_template"] = TEMPLATE.into());
    assert!(fails("auto").contains("chat_template.jinja:3: the template is no Jinja: "));
    assert!(!room.path("runs").exists());
}
