//! `--device` and `run.device`, on a machine with or without a GPU.

use std::fs;

use super::room::{Room, stderr};

/// Every command that computes, with its arguments.
const COMMANDS: [&[&str]; 5] = [
    &["meta-train", "--config", "c.toml", "--out", "runs/again", "--set", "outer.steps=1"],
    &["finetune", "--config", "c.toml", "--out", "runs/tuned", "--set", "outer.steps=1"],
    &["encode", "--context", "story.txt", "--out", "memory"],
    &["ask", "--adapter", "memory", "Where is Mary?"],
    &["eval", "--task", "held-out", "--samples", "1", "--lengths", "1x"],
];

fn with<'a>(arguments: &[&'a str], device: &'a str) -> Vec<&'a str> {
    [arguments, &["--device", device]].concat()
}

#[test]
fn every_command_takes_the_cpu_and_whatever_auto_finds() {
    for device in ["cpu", "auto"] {
        let room = Room::trained();
        for command in COMMANDS {
            room.prints(&with(command, device));
        }
    }
}

#[test]
fn a_gpu_that_is_not_there_is_one_error_and_leaves_nothing() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "memory"]);
    for command in COMMANDS.iter().filter(|command| command[0] != "encode") {
        let error = room.refuses(&with(command, "cuda:99"));
        assert!(error.contains("device `cuda:99` cannot be used"), "{error}");
    }
    let encode = ["encode", "--context", "story.txt", "--out", "other", "--device", "cuda:99"];
    assert!(room.refuses(&encode).contains("cuda:99"));
    for left in ["runs/again", "runs/tuned", "other", "evaluations"] {
        assert!(!room.path(left).exists(), "{left} was left");
    }
}

#[test]
fn a_name_that_is_no_device_is_refused_with_those_that_are() {
    let room = Room::trained();
    for command in COMMANDS {
        let output = room.perk(&with(command, "gpu")).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("`gpu` is none of auto, cpu, cuda, cuda:N"), "{}", stderr(&output));
    }
}

#[test]
fn the_configuration_names_a_device_and_the_command_line_another() {
    let room = Room::new();
    let text = fs::read_to_string(room.path("c.toml")).unwrap();
    fs::write(room.path("c.toml"), text.replace("[run]\n", "[run]\ndevice = \"cuda:99\"\n")).unwrap();
    let short = ["--config", "c.toml", "--set", "outer.steps=1", "--set", "eval.multiples=[1]"];
    let output = room.run(&short);
    assert!(stderr(&output).contains("device `cuda:99` cannot be used"), "{}", stderr(&output));
    room.succeed(&[&short[..], &["--device", "cpu"]].concat());
    let saved = fs::read_to_string(room.path("runs/tiny/config.toml")).unwrap();
    assert!(saved.contains("device = \"cpu\""), "{saved}");
}

#[test]
fn the_operations_of_a_gpu_train_to_the_same_losses_as_the_loops_of_the_cpu() {
    let losses = |composed: &str| {
        let room = Room::new();
        let mut command = room.command(&["--config", "c.toml", "--set", "outer.steps=3"]);
        assert!(command.env("PERK_COMPOSED", composed).output().unwrap().status.success());
        let metrics = fs::read_to_string(room.path("runs/tiny/metrics.jsonl")).unwrap();
        let records = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.filter_map(|record| record["outer_loss"].as_f64()).collect::<Vec<f64>>()
    };
    let (loops, composed) = (losses("0"), losses("1"));
    assert_eq!((loops.len(), composed.len()), (3, 3));
    assert_ne!(loops, composed, "sums in another order round otherwise: this was the same way twice");
    for (a, b) in loops.iter().zip(&composed) {
        assert!((a - b).abs() < 1e-4, "{loops:?} {composed:?}");
    }
}
