//! `perk ask`.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use candle_core::Tensor;
use perk::checkpoint::Lock;
use serde_json::Value;

use super::room::{Room, message, names, printed, stderr};

const QUESTION: &str = "Where is Mary?";

/// A room with the story encoded in the folder `memory`.
fn encoded() -> Room {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "memory"]);
    room
}

fn ask(room: &Room, more: &[&str]) -> String {
    room.prints(&[&["ask", "--adapter", "memory"], more].concat())
}

fn ask_json(room: &Room, more: &[&str]) -> Value {
    serde_json::from_str(&ask(room, &[&["--json", QUESTION], more].concat())).unwrap()
}

#[test]
fn an_answer_comes_from_the_adapter_and_is_the_same_in_both_forms() {
    let room = encoded();
    let reply = ask_json(&room, &[]);
    assert_eq!(reply["question"], QUESTION);
    assert_eq!(reply["answer"], ask(&room, &[QUESTION]).trim());
    assert_eq!(reply["output"], reply["answer"]);
    assert!(reply["support"].is_null());
    let tokens = reply["tokens"].as_u64().unwrap();
    assert_eq!(tokens, reply["token_ids"].as_array().unwrap().len() as u64);
    assert!(tokens > 0 && tokens <= 3, "{reply}");
    let [first, all] = ["first_token_secs", "secs"].map(|key| reply[key].as_f64().unwrap());
    assert!(first > 0.0 && first <= all, "{reply}");
    // `Question: Where is Mary? Answer:` and nothing of the story.
    assert_eq!(reply["prompt_tokens"], 8);
}

#[test]
fn the_base_and_the_context_in_the_prompt_are_asked_beside_the_adapter() {
    let room = encoded();
    let more = ["--compare-base", "--in-context", "story.txt", "--max-tokens", "2"];
    let reply = ask_json(&room, &more);
    assert_eq!(reply["base"]["prompt_tokens"], 8);
    assert!(reply["in_context"]["prompt_tokens"].as_u64().unwrap() > 50, "{reply}");
    assert_ne!(reply["base"]["token_ids"], reply["in_context"]["token_ids"]);
    let text = ask(&room, &[&[QUESTION], &more[..]].concat());
    let lines: Vec<&str> = text.lines().collect();
    for (line, name) in lines.iter().zip(["adapter", "base", "in_context"]) {
        let (label, answer) = line.split_once(' ').unwrap();
        let expected = if name == "adapter" { &reply["answer"] } else { &reply[name]["answer"] };
        assert_eq!((label, answer.trim()), (name, expected.as_str().unwrap()));
    }
    assert_eq!(lines.len(), 3);
}

#[test]
fn the_adapter_answers_unlike_the_base_once_it_has_learned() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "memory", "--steps", "40"]);
    let reply = ask_json(&room, &["--compare-base"]);
    assert_ne!(reply["token_ids"], reply["base"]["token_ids"]);
}

#[test]
fn a_context_is_encoded_and_asked_in_one_go_and_only_once() {
    let room = Room::trained();
    let arguments = ["ask", "--context", "story.txt", QUESTION];
    let first = room.perk(&arguments).output().unwrap();
    assert!(stderr(&first).contains("inner steps"), "{}", stderr(&first));
    let again = room.perk(&arguments).output().unwrap();
    assert!(!stderr(&again).contains("inner steps"), "{}", stderr(&again));
    assert_eq!(printed(first), printed(again));
    let stored = names(&room.path("adapters"));
    assert_eq!(stored.len(), 1);
    room.prints(&["ask", "--adapter", &stored[0], QUESTION]);
    // Under whatever name it is in the store.
    fs::rename(room.path("adapters").join(&stored[0]), room.path("adapters/story")).unwrap();
    room.prints(&arguments);
    assert_eq!(names(&room.path("adapters")), ["story"]);
}

#[test]
fn questions_on_standard_input_are_answered_line_by_line() {
    let room = encoded();
    let arguments = ["ask", "--adapter", "memory", "--json"];
    let mut child = room.perk(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Where is Mary?\n\nWhere is John?\n").unwrap();
    let text = printed(child.wait_with_output().unwrap());
    let asked: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1]["question"], "Where is John?");
}

#[test]
fn a_batch_that_was_cut_off_goes_on_after_its_last_whole_line() {
    let room = encoded();
    let questions: String = ["Mary", "John", "Bill"]
        .map(|who| format!("{{\"question\": \"Where is {who}?\", \"id\": \"{who}\"}}\n"))
        .concat();
    fs::write(room.path("q.jsonl"), questions).unwrap();
    let batch = ["--questions", "q.jsonl", "--out", "a.jsonl", "--compare-base"];
    ask(&room, &batch);
    let answers = || -> Vec<Value> {
        let text = fs::read_to_string(room.path("a.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let whole = answers();
    assert_eq!(whole.len(), 3);
    assert_eq!(whole[2]["given"]["id"], "Bill");
    assert!(whole.iter().all(|line| line["answer"].is_string() && line["base"]["answer"].is_string()));
    let text = fs::read_to_string(room.path("a.jsonl")).unwrap();
    let second = text.match_indices('\n').nth(1).unwrap().0;
    fs::write(room.path("a.jsonl"), &text[..second - 5]).unwrap();
    let output = room.perk(&[&["ask", "--adapter", "memory"], &batch[..]].concat()).output().unwrap();
    assert!(stderr(&output).contains("1 of 3 questions were answered before"), "{}", stderr(&output));
    let again = answers();
    assert_eq!(again[0], whole[0], "the line that was there is kept as it is");
    let tokens = |lines: &[Value]| lines.iter().map(|line| line["token_ids"].clone()).collect::<Vec<_>>();
    assert_eq!(tokens(&again), tokens(&whole));
    let other = [&["ask", "--adapter", "memory", "--max-tokens", "1"], &batch[..]].concat();
    assert!(
        room.refuses(&other)
            .contains("a.jsonl:1: answers another question, or was made with another adapter")
    );
}

#[test]
fn a_seed_decides_what_is_drawn() {
    let room = encoded();
    let draw = |seed: &str| {
        let choice = ["--temperature", "5", "--top-p", "0.99", "--max-tokens", "12", "--seed", seed];
        ask_json(&room, &choice)["token_ids"].clone()
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
    for (option, value, expected) in
        [("--temperature", "0", "temperature"), ("--temperature", "NaN", "temperature")]
    {
        let refused = room.refuses(&["ask", "--adapter", "memory", QUESTION, option, value]);
        assert!(refused.contains(expected), "{refused}");
    }
    let top_p = ["ask", "--adapter", "memory", QUESTION, "--temperature", "1", "--top-p", "1.5"];
    assert!(room.refuses(&top_p).contains("top-p"));
}

#[test]
fn an_adapter_on_the_wrong_base_is_refused() {
    let room = encoded();
    fs::create_dir(room.path("moved")).unwrap();
    for name in names(&room.path("base")) {
        fs::copy(room.path("base").join(&name), room.path("moved").join(&name)).unwrap();
    }
    room.change_base();
    let arguments = ["ask", "--adapter", "memory", QUESTION];
    let refused = room.refuses(&arguments);
    assert!(refused.contains("memory: belongs to another base") && refused.contains("/base`"), "{refused}");
    room.prints(&[&arguments[..], &["--base", "moved"]].concat());
}

#[test]
fn a_damaged_adapter_is_refused_with_the_tensor_that_is_wrong() {
    let room = encoded();
    let path = room.path("memory/adapter_model.safetensors");
    let whole = fs::read(&path).unwrap();
    let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let name = "base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight";
    let refused = || room.refuses(&["ask", "--adapter", "memory", QUESTION]);
    type Named = Vec<(String, Tensor)>;
    let broken = |change: &dyn Fn(&mut Named)| {
        let mut named: Named = tensors.clone().into_iter().collect();
        change(&mut named);
        safetensors::serialize_to_file(named, None, &path).unwrap();
        refused()
    };
    let at = |named: &[(String, Tensor)]| named.iter().position(|(n, _)| n == name).unwrap();
    let missing = broken(&|named| drop(named.remove(at(named))));
    assert!(missing.contains(name) && missing.contains("is missing"), "{missing}");
    let turned = broken(&|named| {
        let i = at(named);
        named[i].1 = named[i].1.t().unwrap().contiguous().unwrap();
    });
    assert!(turned.contains(name) && turned.contains("has shape"), "{turned}");
    let extra = broken(&|named| named.push(("surplus".to_owned(), named[0].1.clone())));
    assert!(extra.contains("`surplus`"), "{extra}");
    let other = broken(&|named| named[0].1 = (&named[0].1 * 2.0).unwrap());
    assert!(other.contains("is not what perk encode wrote"), "{other}");
    for length in [0, 7, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let cut = refused();
        assert!(cut.contains("is not a whole safetensors file"), "{cut}");
    }
    fs::remove_file(&path).unwrap();
    assert!(refused().contains("adapter_model.safetensors"));
    fs::write(room.path("memory/perk.json"), "{").unwrap();
    assert!(refused().contains("perk.json:1"));
}

#[test]
fn what_cannot_be_asked_is_said_before_anything_is_loaded() {
    let room = encoded();
    fs::write(room.path("q.jsonl"), "{\"query\": 1}\n").unwrap();
    for (arguments, expected) in [
        (&["--adapter", "nowhere", QUESTION][..], "nowhere: there is no such adapter"),
        (&["--adapter", "base", QUESTION], "base: holds no perk.json"),
        (&["--adapter", "memory", " "], "the question is empty"),
        (&["--adapter", "memory", "--questions", "q.jsonl", "--out", "a.jsonl"], "q.jsonl:1: no `question`"),
        (&["--adapter", "memory", QUESTION, "--max-tokens", "1000"], "the model has 128"),
    ] {
        let refused = room.refuses(&[&["ask"], arguments].concat());
        assert!(refused.contains(expected), "{refused}");
    }
    fs::write(room.path("q.jsonl"), "{\"question\": \"Where?\"}\n").unwrap();
    let taken = Lock::take(&room.path("a.jsonl")).unwrap();
    let refused =
        room.refuses(&["ask", "--adapter", "nowhere", "--questions", "q.jsonl", "--out", "a.jsonl"]);
    assert!(refused.contains("another process is writing here"), "{refused}");
    drop(taken);
    let long = "The old farmer repaired the wagon in spring. ".repeat(20);
    fs::write(room.path("long.txt"), long).unwrap();
    let refused = room.refuses(&["ask", "--adapter", "memory", QUESTION, "--in-context", "long.txt"]);
    assert!(refused.contains("the context is too long for a prompt"), "{refused}");
    let nothing = room.perk(&["ask", QUESTION]).output().unwrap();
    assert!(message(&nothing, 2).contains("--adapter"));
}
