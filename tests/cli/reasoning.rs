//! Answers that recall their facts first: training, scores, encoding and asking.

use std::fs;

use serde_json::Value;

use super::room::{Room, STORY, stderr};

const REASONING: [&str; 8] = [
    "--set",
    "data.target=reasoning",
    "--set",
    "data.reasoning_form='{support} Answer: {answer}'",
    "--set",
    "eval.max_new_tokens=40",
    "--set",
    "data.task=qa2",
];

/// A room with a run of a few outer steps on reasoned answers, and a story.
fn trained() -> Room {
    let room = Room::new();
    let short = ["--set", "eval.multiples=[1]", "--set", "eval.episodes=3"];
    let printed = room.succeed(&[&["--config", "c.toml"], &REASONING[..], &short].concat());
    for column in ["precision  recall", "right with its facts  first wrong step"] {
        assert!(printed.contains(column), "{printed}");
    }
    fs::write(room.path("story.txt"), STORY).unwrap();
    room
}

#[test]
fn a_run_on_reasoned_answers_scores_the_facts_too() {
    let room = trained();
    let evaluated: Vec<Value> =
        room.metrics("runs/tiny").into_iter().filter(|line| line["kind"] == "eval").collect();
    assert!(!evaluated.is_empty() && evaluated.iter().all(|line| line["support"]["samples"] == 3));
    let rows = room.result("runs/tiny")["evaluation"]["rows"].as_array().unwrap().clone();
    for row in &rows {
        assert_eq!(
            row["support"].is_null(),
            row["method"] == "icr",
            "only trained methods know the form: {row}"
        );
    }
    // A base of random weights recalls nothing.
    let perk = rows.iter().find(|row| row["method"] == "perk").unwrap();
    assert_eq!(
        (&perk["support"]["recall"], &perk["support"]["right_with_support"]),
        (&0.0.into(), &0.0.into())
    );
}

#[test]
fn an_evaluation_compares_the_facts_of_trained_methods_with_those_that_decide() {
    let room = trained();
    let grid = [
        "eval",
        "--task",
        "held-out",
        "--lengths",
        "1x",
        "--samples",
        "2",
        "--method",
        "perk,icr",
        "--out",
        "e",
    ];
    let printed = room.prints(&grid);
    assert!(printed.lines().any(|line| line.starts_with("facts  ")), "{printed}");
    let text = fs::read_to_string(room.path("e/samples.jsonl")).unwrap();
    for record in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let facts = record["facts"].as_array().unwrap();
        assert!(
            facts.len() == 2 && facts.iter().all(|fact| fact.as_str().unwrap().contains(" Event ")),
            "{record}"
        );
        assert_eq!(record["support"].is_object(), record["method"] == "perk", "{record}");
    }
    assert!(room.path("e/pictures/right_with_facts_over_length_random.svg").exists());
    let table = fs::read_to_string(room.path("e/results.csv")).unwrap();
    assert!(table.lines().next().unwrap().contains(",support_f1,right_with_support,malformed"), "{table}");
}

#[test]
fn an_adapter_keeps_the_form_of_its_answers_and_a_broken_answer_is_said() {
    let room = trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "memory"]);
    let form = room.json("memory/perk.json")["recipe"]["reasoning"]["form"].clone();
    assert_eq!(form, "{support} Answer: {answer}");
    let ask = |more: &[&str]| room.perk(&[&["ask", "--adapter", "memory", "Where is Mary?"], more].concat());
    let reply: Value = serde_json::from_slice(&ask(&["--json"]).output().unwrap().stdout).unwrap();
    // Random weights write words, all of them before a mark that never comes.
    assert_eq!((&reply["malformed"], &reply["answer"]), (&true.into(), &"".into()), "{reply}");
    let facts = reply["support"].as_array().unwrap();
    assert!(!facts.is_empty(), "{reply}");
    let shown = ask(&["--show-support"]).output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let from: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  from: ")).collect();
    assert!(from.iter().eq(facts), "{text}");
    assert!(stderr(&shown).contains("did not keep to the form"));
    let plain = ask(&[]).output().unwrap();
    assert_eq!(String::from_utf8(plain.stdout).unwrap().trim(), "", "facts are shown when asked for only");
}

#[test]
fn what_a_reasoned_answer_needs_is_said_before_a_run_starts() {
    let room = Room::new();
    let fail =
        |more: &[&str], code| room.fail(&[&["--config", "c.toml"], &REASONING[..], more].concat(), code);
    let message = |more: &[&str]| fail(more, 1);
    let short = message(&["--set", "eval.max_new_tokens=8"]);
    assert!(
        short.contains("eval.max_new_tokens: is 8") && short.contains("tokens: allow as many"),
        "{short}"
    );
    let line = "{\"context\": \"Mary ran. John sat.\", \"question\": \"Who ran?\", \"answer\": \"Mary\"}\n";
    fs::write(room.path("e.jsonl"), line.to_owned() + &line.replace("ran", "sat")).unwrap();
    let files =
        ["--set", "data.task=files", "--set", "data.files=['e.jsonl']", "--set", "eval.multiples=[1]"];
    let without = message(&files);
    assert!(without.contains("e.jsonl:") && without.contains("supporting facts"), "{without}");
    assert!(!room.path("runs").exists(), "a run that cannot start leaves nothing");
    let bad = fail(&["--set", "data.reasoning_form='{support} {answer}'"], 2);
    assert!(bad.contains("data.reasoning_form") && bad.contains("between"), "{bad}");
}
