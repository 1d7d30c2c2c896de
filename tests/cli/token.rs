//! `HF_TOKEN` goes to the hub and nowhere else.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::hub::{Hub, serve};
use super::room::{Room, STORY};

const TOKEN: &str = "hf_aSecretThatNobodyElseWrites";

/// `perk` with the token, and with everything on that could make it talkative.
fn run(room: &Room, hub: &str, token: &str, arguments: &[&str]) -> Output {
    let mut command = room.perk(arguments);
    command.env("HF_TOKEN", token).env("HF_ENDPOINT", hub).env("HF_HOME", room.path("home"));
    command.env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace").output().unwrap()
}

fn require_silent(output: &Output, what: &[&str]) {
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream);
        assert!(!text.contains("aSecretThat"), "{what:?} shows the token: {text}");
    }
}

/// No file below `folder` holds the token.
fn require_nowhere(folder: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            files += require_nowhere(&entry.path());
        } else if let Ok(bytes) = fs::read(entry.path()) {
            let found = bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
            assert!(!found, "{} holds the token", entry.path().display());
            files += 1;
        }
    }
    files
}

fn room() -> (Room, Hub) {
    let room = Room::new();
    fs::write(room.path("story.txt"), STORY).unwrap();
    fs::write(room.path("q.jsonl"), "{\"question\": \"Where is Mary?\"}\n").unwrap();
    let config = fs::read_to_string(room.path("c.toml")).unwrap();
    let config = config.replace("base = \"base\"", "base = \"hf:owner/name\"\nrevision = \"v1\"");
    fs::write(room.path("c.toml"), config).unwrap();
    let hub = serve(room.path("base"));
    (room, hub)
}

#[test]
fn the_token_is_in_no_output_and_no_file_of_commands_that_succeed() {
    let (room, hub) = room();
    let short = ["--config", "c.toml", "--set", "eval.multiples=[1]", "--set", "eval.episodes=1"];
    let meta_train = [&["meta-train"], &short[..]].concat();
    let finetune = [&["finetune"], &short[..]].concat();
    for command in [
        &["meta-train", "--config", "c.toml", "--dry-run"][..],
        &meta_train,
        &finetune,
        &["meta-train", "--resume", "runs/tiny"],
        &["encode", "--context", "story.txt", "--out", "adapters/one"],
        &["ask", "--adapter", "one", "--json", "Where is Mary?"],
        &["ask", "--adapter", "one", "--questions", "q.jsonl", "--out", "a.jsonl"],
        &["eval", "--task", "held-out", "--lengths", "1x", "--samples", "1", "--out", "e"],
        &["adapters", "list"],
        &["adapters", "show", "one"],
        &["adapters", "verify"],
        &["export", "--adapter", "one", "--out", "peft"],
        &["export", "--adapter", "one", "--format", "merged", "--out", "merged"],
        &["export", "--adapter", "one", "--format", "gguf-lora", "--out", "one.gguf"],
    ] {
        let output = run(&room, &hub.address, TOKEN, command);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        require_silent(&output, command);
    }
    let sent = hub.requests.lock().unwrap().iter().filter(|line| line.contains(TOKEN)).count();
    assert!(sent > 0, "the hub was never given the token");
    assert!(require_nowhere(&room.path("")) > 30);
}

#[test]
fn the_token_is_in_no_error() {
    let (room, hub) = room();
    let train = |base: &'static str| {
        ["meta-train", "--config", "c.toml", "--set", base, "--out", "r"].map(str::to_owned).to_vec()
    };
    let mut commands = ["hf:private/name", "hf:owner/missing", "hf:no/where", "no/where", "nowhere", "../x"]
        .map(|base| train(Box::leak(format!("model.base={base}").into_boxed_str())))
        .to_vec();
    for failing in [
        &[
            "eval",
            "--task",
            "babilong",
            "--config",
            "c.toml",
            "--method",
            "icr",
            "--data",
            "hf:private/data",
            "--lengths",
            "0k",
        ][..],
        &["encode", "--context", "story.txt", "--untrained", "c.toml", "--base", "hf:private/name"],
        &["meta-train", "--config", "nowhere.toml"],
        &[
            "meta-train",
            "--config",
            "c.toml",
            "--set",
            "inner.lr=1e30",
            "--set",
            "inner.optimizer=sgd",
            "--out",
            "d",
        ],
    ] {
        commands.push(failing.iter().map(|&part| part.to_owned()).collect());
    }
    let odd =
        [format!("{TOKEN}\n"), format!("{TOKEN} x"), format!("{TOKEN}\u{e9}"), format!("\u{1b}{TOKEN}")];
    let endpoints = [hub.address.as_str(), "http://127.0.0.1:9", "not an address"];
    for command in &commands {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let output = run(&room, endpoints[0], TOKEN, &command);
        assert!(!output.status.success(), "{command:?}");
        require_silent(&output, &command);
    }
    let base = train("model.base=hf:private/name");
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    for endpoint in endpoints {
        for token in [TOKEN].into_iter().chain(odd.iter().map(String::as_str)) {
            let output = run(&room, endpoint, token, &base);
            assert!(!output.status.success(), "{endpoint} {token:?}");
            require_silent(&output, &[endpoint, token]);
        }
    }
    require_nowhere(&room.path(""));
}
