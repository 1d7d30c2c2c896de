//! Bases and data that are told apart from the hub's, from whatever folder the command is started.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::room::{Room, message, printed, stderr};

const QUESTION: &str = "Where is Mary?";

/// A run and an adapter on a base whose path has the form of a hub id, and a folder elsewhere.
fn room() -> (Room, tempfile::TempDir) {
    let room = Room::new();
    fs::create_dir(room.path("models")).unwrap();
    fs::rename(room.path("base"), room.path("models/tiny")).unwrap();
    let short =
        ["--set", "model.base=models/tiny", "--set", "eval.multiples=[1]", "--set", "eval.episodes=1"];
    room.succeed(&[&["--config", "c.toml"][..], &short].concat());
    fs::write(room.path("story.txt"), super::room::STORY).unwrap();
    room.prints(&["encode", "--context", "story.txt", "--out", "memory"]);
    (room, tempfile::tempdir().unwrap())
}

/// The commands that need the base of a run or of an adapter, with whole paths.
fn commands(room: &Room, out: &Path) -> [Vec<String>; 4] {
    let path = |name: &str| room.path(name).to_str().unwrap().to_owned();
    let out = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let (memory, run, story) = (path("memory"), path("runs/tiny"), path("story.txt"));
    let command = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    [
        command(&["ask", "--adapter", &memory, QUESTION]),
        command(&["encode", "--checkpoint", &run, "--context", &story, "--out", &out("encoded")]),
        command(&["export", "--adapter", &memory, "--out", &out("exported")]),
        command(&["meta-train", "--resume", &run]),
    ]
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn a_local_base_is_found_from_every_folder_and_by_peft() {
    let (room, elsewhere) = room();
    for command in commands(&room, elsewhere.path()) {
        printed(room.perk_in(elsewhere.path(), &words(&command)).output().unwrap());
    }
    let base = room.path("models/tiny").canonicalize().unwrap();
    let at = |value: &Value| Path::new(value.as_str().unwrap()) == base;
    let exported = fs::read_to_string(elsewhere.path().join("exported/adapter_config.json")).unwrap();
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert!(at(&exported["base_model_name_or_path"]), "{exported}");
    for config in ["memory", "runs/tiny/checkpoints/last"] {
        let config = room.json(&format!("{config}/adapter_config.json"));
        assert!(at(&config["base_model_name_or_path"]), "{config}");
    }
    assert!(at(&room.json("memory/perk.json")["base"]["model"]["base"]));
}

#[test]
fn a_base_that_was_moved_is_named_as_missing_and_found_with_base() {
    let (room, elsewhere) = room();
    fs::rename(room.path("models"), room.path("moved")).unwrap();
    let base = room.path("moved/tiny").to_str().unwrap().to_owned();
    for command in commands(&room, elsewhere.path()) {
        let command = words(&command);
        let refused = message(&room.perk_in(elsewhere.path(), &command).output().unwrap(), 1);
        assert!(refused.contains("models/tiny: does not exist") && refused.contains("--base"), "{refused}");
        let with_base = [&command[..], &["--base", &base]].concat();
        printed(room.perk_in(elsewhere.path(), &with_base).output().unwrap());
    }
}

#[test]
fn a_record_of_an_older_version_is_read_from_every_folder_and_its_base_never_taken_to_the_hub() {
    let (room, elsewhere) = room();
    let older = |config: &str| {
        let of_base = |line: &&str| !line.starts_with("base =") && !line.starts_with("begin_token");
        let rest: Vec<&str> = config.lines().filter(of_base).collect();
        rest.join("\n").replace("[model]", "[model]\nbase = \"models/tiny\"")
    };
    room.change_json("memory/perk.json", |record| record["base"]["model"]["base"] = "models/tiny".into());
    room.change_json("runs/tiny/checkpoints/last/state.json", |state| {
        state["config"] = older(state["config"].as_str().unwrap()).into();
    });
    let run = room.path("runs/tiny/config.toml");
    fs::write(&run, older(&fs::read_to_string(&run).unwrap())).unwrap();
    let refuse = |folder: &Path| {
        for command in &commands(&room, folder)[..3] {
            let refused = message(&room.perk_in(folder, &words(command)).output().unwrap(), 1);
            let told = ["models/tiny: is no folder here", "--base", "hf:models/tiny"];
            assert!(told.iter().all(|part| refused.contains(part)), "{refused}");
        }
    };
    fs::rename(room.path("models"), room.path("moved")).unwrap();
    refuse(elsewhere.path());
    fs::rename(room.path("moved"), room.path("models")).unwrap();
    let here = room.path("here");
    fs::create_dir(&here).unwrap();
    for folder in [elsewhere.path(), &here] {
        for command in commands(&room, folder) {
            printed(room.perk_in(folder, &words(&command)).output().unwrap());
        }
    }
}

#[test]
fn data_that_are_not_there_are_not_asked_of_the_hub() {
    let (room, _) = room();
    fs::create_dir(room.path("data")).unwrap();
    let eval = ["eval", "--task", "babilong", "--method", "base", "--lengths", "0k", "--data"];
    let refused = |data: &str| {
        let arguments = [&eval[..], &[data]].concat();
        message(&room.perk_in(&room.path(""), &arguments).output().unwrap(), 1)
    };
    let unsaid = refused("data/rowz");
    assert!(unsaid.contains("data/rowz: is no folder here") && unsaid.contains("hf:data/rowz"), "{unsaid}");
    assert!(refused("./data/rowz").contains("does not exist"));
    let asked = room.perk_in(&room.path(""), &[&eval[..], &["hf:data/rowz"]].concat()).output().unwrap();
    assert!(stderr(&asked).contains("HF_ENDPOINT"), "only this one asks: {}", stderr(&asked));
}
