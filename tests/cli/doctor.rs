//! `perk doctor`.

use std::fs;

use serde_json::Value;

use super::hub::serve;
use super::room::{Room, stderr};

/// The findings by what was looked at; there are three disks.
fn findings(room: &Room, hub: &str) -> (bool, Vec<Value>) {
    let mut command = room.perk(&["doctor", "--json"]);
    let output = command.env("HF_ENDPOINT", hub).env("HF_HOME", room.path("home")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    (found["usable"].as_bool().unwrap(), found["findings"].as_array().unwrap().clone())
}

#[test]
fn everything_that_perk_stands_on_is_looked_at_and_nothing_is_left_behind() {
    let room = Room::new();
    fs::create_dir_all(room.path("home/hub/models--a--b")).unwrap();
    let hub = serve(room.path("base"));
    let (usable, findings) = findings(&room, &hub.address);
    assert!(usable);
    let named: Vec<&str> = findings.iter().map(|finding| finding["what"].as_str().unwrap()).collect();
    assert_eq!(named, ["build", "processor", "gpu", "memory", "disk", "disk", "disk", "cache", "hub"]);
    let facts = |what: &str| findings.iter().find(|f| f["what"] == what).unwrap()["facts"].clone();
    assert_eq!(facts("build")["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(facts("gpu")["built_in"], cfg!(feature = "cuda"));
    assert!(facts("processor")["kernels"].as_array().unwrap().contains(&"portable".into()));
    assert_eq!(facts("cache")["models"], 1);
    assert_eq!(facts("hub")["unreachable"], Value::Null, "{findings:?}");
    assert!(!room.path("runs").exists() && !room.path("adapters").exists());
    let text = room.prints(&["doctor"]);
    assert!(
        text.lines().count() >= 9 && text.contains("processor") && text.contains("runs in runs: "),
        "{text}"
    );
}

#[test]
fn a_hub_that_does_not_answer_is_a_note_with_advice_and_no_failure() {
    let room = Room::new();
    let (usable, findings) = findings(&room, "http://127.0.0.1:9");
    let hub = findings.last().unwrap();
    assert!(
        usable && hub["state"] == "note" && hub["advice"].as_str().unwrap().contains("HF_ENDPOINT"),
        "{hub}"
    );
    assert!(hub["facts"]["unreachable"].is_string());
}

#[test]
fn what_makes_perk_unusable_is_a_problem_and_the_exit_code_says_so() {
    let room = Room::new();
    // Where runs would go lies a file.
    fs::write(room.path("runs"), "").unwrap();
    let output = room.perk(&["doctor"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let problem = text.lines().find(|line| line.starts_with("problem")).unwrap();
    assert!(problem.contains("runs in runs") && problem.contains("cannot be written"), "{text}");
    assert!(text.contains("offline mode is on"), "{text}");
}

#[test]
fn the_token_is_not_told() {
    let room = Room::new();
    let hub = serve(room.path("base"));
    for form in [&["doctor"][..], &["doctor", "--json"]] {
        let mut command = room.perk(form);
        let output = command.env("HF_ENDPOINT", &hub.address).env("HF_TOKEN", "hf_secret").output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert!(output.status.success() && !text.contains("hf_secret"), "{text}");
    }
    assert!(!hub.requests.lock().unwrap().iter().any(|line| line.contains("hf_secret")));
}
