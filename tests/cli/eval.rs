//! `perk eval` and `perk finetune`.

use std::fs;

use serde_json::Value;

use super::room::{Room, names};

const GRID: [&str; 7] = ["eval", "--task", "held-out", "--lengths", "1x,2x", "--samples", "3"];

fn records(room: &Room, dir: &str) -> Vec<Value> {
    let text = fs::read_to_string(room.path(dir).join("samples.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn methods_are_asked_side_by_side_and_leave_their_files() {
    let room = Room::trained();
    let tune = ["finetune", "--config", "c.toml", "--set", "eval.multiples=[1]", "--set", "eval.episodes=1"];
    let printed = room.prints(&tune);
    assert!(printed.trim_end().ends_with("runs/tiny-ft-icr/result.json"), "{printed}");
    let methods = ["--method", "perk,base,icr,ft-icr", "--finetuned", "runs/tiny-ft-icr", "--out", "e"];
    let printed = room.prints(&[&GRID[..], &methods].concat());
    assert!(printed.starts_with("qa1, random"), "{printed}");
    for method in ["perk ", "base ", "icr ", "ft-icr "] {
        assert!(printed.lines().any(|line| line.starts_with(method)), "{printed}");
    }
    let files = ["pictures", "results.csv", "results.json", "results.md", "samples.jsonl", "settings.json"];
    assert_eq!(names(&room.path("e")), files);
    let records = records(&room, "e");
    assert_eq!(records.len(), 4 * 2 * 3);
    for record in &records {
        let has_context = record["prompt"].as_str().unwrap().contains("Event 0");
        let reads = ["icr", "ft-icr"].contains(&record["method"].as_str().unwrap());
        assert_eq!(has_context, reads, "{record}");
        assert_eq!(record["encode_secs"].as_f64().unwrap() > 0.0, record["method"] == "perk", "{record}");
    }
}

#[test]
fn an_evaluation_goes_on_with_what_is_missing_and_refuses_other_settings() {
    let room = Room::trained();
    fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&GRID[..], &["--out", "e"], more].concat()
    }
    room.prints(&ask(&[]));
    let whole = records(&room, "e");
    let path = room.path("e/samples.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(2).collect();
    fs::write(&path, format!("{}{{\"method\": \"pe", kept.concat())).unwrap();
    room.prints(&ask(&[]));
    let again = records(&room, "e");
    let output = |records: &[Value]| {
        let mut all: Vec<String> =
            records.iter().map(|r| format!("{} {} {}", r["cell"], r["index"], r["output"])).collect();
        all.sort();
        all
    };
    assert_eq!(output(&again), output(&whole));
    let message = room.refuses(&ask(&["--seed", "7"]));
    assert!(message.contains("seed") && message.contains("--out"), "{message}");
}

#[test]
fn a_context_that_does_not_fit_loses_its_middle_and_is_counted() {
    let room = Room::trained();
    // The base has 128 positions.
    let grid = ["eval", "--task", "held-out", "--lengths", "1x,16x", "--samples", "2", "--out", "e"];
    let printed = room.perk(&[&grid[..], &["--method", "icr"]].concat()).output().unwrap();
    assert!(printed.status.success());
    let note = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(note.contains("icr qa1 at 16x: the context did not fit into 2 of 2 prompts"), "{note}");
    assert!(!note.contains("icr qa1 at 1x: the context"), "{note}");
    for record in records(&room, "e") {
        let prompt = record["prompt"].as_str().unwrap();
        assert!(prompt.ends_with("Answer :"), "{record}");
        let is_long = record["cell"]["length"] == "16x";
        assert_eq!(record["dropped_tokens"].as_u64().unwrap() > 100, is_long, "{record}");
    }
}

#[test]
fn babilong_is_asked_from_the_simulations_and_from_rows() {
    let room = Room::trained();
    let ask = ["eval", "--task", "babilong", "--method", "base", "--samples", "2", "--lengths", "0k"];
    room.prints(&[&ask[..], &["--tasks", "qa1,qa20", "--out", "e"]].concat());
    assert_eq!(names(&room.path("e/predictions/base")).len(), 2);
    fs::create_dir_all(room.path("rows/qa1")).unwrap();
    let row = r#"[{"input": "Mary went to the garden.", "question": "Where is Mary?", "target": "garden"}]"#;
    fs::write(room.path("rows/qa1/0k.json"), row).unwrap();
    room.prints(&[&ask[..], &["--data", "rows", "--out", "f"]].concat());
    assert_eq!(records(&room, "f").len(), 1);
    let message = room.refuses(&[&ask[..], &["--tasks", "qa21"]].concat());
    assert!(message.contains("qa21") && message.contains("qa20"), "{message}");
    fs::write(room.path("rows/qa1/0k.json"), r#"[{"input": "A.", "question": "Q?"}]"#).unwrap();
    let message = room.refuses(&[&ask[..], &["--data", "rows", "--out", "g"]].concat());
    assert!(message.contains("0k.json") && message.contains("target"), "{message}");
}

#[test]
fn ruler_makes_its_contexts_and_is_scored_by_the_share_of_its_answers() {
    let room = Room::trained();
    let ask = ["eval", "--task", "ruler", "--method", "perk,icr", "--samples", "2", "--lengths", "600"];
    let printed = room.prints(&[&ask[..], &["--tasks", "niah_multivalue,fwe", "--out", "e"]].concat());
    assert!(printed.contains("\nanswers found in percent"), "{printed}");
    assert!(!printed.contains("guessing"), "{printed}");
    assert_eq!(room.json("e/results.json")["metric"], "string_match_all");
    let records = records(&room, "e");
    assert_eq!(records.len(), 2 * 2 * 2);
    for record in &records {
        let expected = if record["cell"]["subtask"] == "fwe" { 3 } else { 4 };
        assert_eq!(record["answers"].as_array().unwrap().len(), expected, "{record}");
        assert_eq!(
            record["scores"]["string_match_all"], 0.0,
            "a base of random weights knows none: {record}"
        );
        // Some of the 600 are for question and answer, but each segment has a prefix.
        assert!((350..700).contains(&record["context_tokens"].as_u64().unwrap()), "{record}");
    }
    let message = room.refuses(&[&ask[..], &["--tasks", "vt", "--position", "pre"]].concat());
    assert!(message.contains("position pre") && message.contains("random"), "{message}");
    let message = room.refuses(&[&ask[..], &["--tasks", "vt", "--data", "story.txt"]].concat());
    assert!(message.contains("story.txt") && message.contains("--data"), "{message}");
}

#[test]
fn a_checkpoint_of_the_wrong_kind_or_for_another_base_is_refused() {
    let room = Room::trained();
    let wrong = ["--method", "ft-icr", "--finetuned", "runs/tiny"];
    assert!(room.refuses(&[&GRID[..], &wrong].concat()).contains("perk finetune"));
    assert!(room.refuses(&[&GRID[..], &["--method", "ft-icr"]].concat()).contains("--finetuned"));
    assert!(room.refuses(&[&GRID[..], &["--method", "perk,perk"]].concat()).contains("twice"));
    room.change_base();
    assert!(room.refuses(&GRID).contains("another base"));
}

#[test]
fn an_episode_of_several_questions_is_encoded_once_and_all_of_it_is_asked() {
    let room = Room::trained();
    let question =
        |who: &str, place: &str| format!(r#"{{"question": "Where is {who}?", "answer": "{place}"}}"#);
    let qa = [question("Mary", "garden"), question("John", "kitchen")].join(", ");
    let context = "Mary went to the garden. John went to the kitchen.";
    let line = |qa: &str| format!(r#"{{"context": "{context}", "qa": [{qa}]}}"#);
    let text = [line(&qa), line(&question("Mary", "garden"))].join("\n");
    fs::write(room.path("q.jsonl"), text).unwrap();
    let ask = ["eval", "--task", "files", "--data", "q.jsonl", "--out", "e"];
    room.prints(&ask);
    let places = |records: &[Value]| -> Vec<(u64, u64, u64)> {
        let number = |record: &Value, key: &str, default| record[key].as_u64().unwrap_or(default);
        let place =
            |r: &Value| (number(r, "index", 9), number(r, "question_index", 0), number(r, "questions", 1));
        let mut places: Vec<_> = records.iter().map(place).collect();
        places.sort_unstable();
        places
    };
    let whole = [(0, 0, 2), (0, 1, 2), (1, 0, 1)];
    let found = records(&room, "e");
    assert_eq!(places(&found), whole);
    let secs = |record: &&Value| record["questions"] == 2;
    let secs: Vec<&Value> = found.iter().filter(secs).map(|record| &record["encode_secs"]).collect();
    assert_eq!(secs[0], secs[1], "one context, learned once");
    // An episode of which one answer was lost is asked again, as a whole.
    let path = room.path("e/samples.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lost = text.lines().find(|line| line.contains("\"questions\":2")).unwrap();
    fs::write(&path, text.replacen(&format!("{lost}\n"), "", 1)).unwrap();
    room.prints(&ask);
    let result = room.json("e/results.json");
    assert_eq!(result["rows"][0]["samples"], 3);
    assert_eq!(
        records(&room, "e").len(),
        4,
        "two that were kept and two of the episode that was asked again"
    );
}

#[test]
fn several_seeds_and_checkpoints_give_means_and_two_results_are_compared_by_question() {
    let room = Room::trained();
    let seeds = room.prints(&[&GRID[..], &["--seed", "1,2", "--out", "s"]].concat());
    assert!(
        seeds.starts_with("method") && seeds.contains("seed-1  seed-2") && seeds.contains(" ± "),
        "{seeds}"
    );
    assert_eq!(names(&room.path("s")), ["means.json", "means.md", "seed-1", "seed-2"]);
    let pair = ["--checkpoint", "runs/tiny/checkpoints/best", "runs/tiny/checkpoints/last", "--out", "c"];
    let pair = room.prints(&[&GRID[..], &pair].concat());
    assert!(pair.contains("runs-tiny-checkpoints-best"), "{pair}");
    let same = room.prints(&["eval", "compare", "s/seed-1", "s/seed-1"]);
    assert!(same.contains("perk") && same.contains("+0.0") && same.contains("1.000"), "{same}");
    let other = room.refuses(&["eval", "compare", "s/seed-1", "s/seed-2"]);
    assert!(other.contains("another question"), "{other}");
    assert!(room.refuses(&["eval", "compare", "s/seed-1", "s"]).contains("results.json"));
    assert!(room.refuses(&[&GRID[..], &["--seed", "1,1"]].concat()).contains("twice"));
    let cost = room.prints(&[&GRID[..], &["--method", "perk,icr", "--cost", "--out", "k"]].concat());
    assert!(cost.contains("break-even") && cost.contains("against icr"), "{cost}");
    assert!(room.path("k/pictures/over_questions_1x.svg").is_file());
}
