//! The command line, spawned on a tiny random base.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/hub.rs"]
mod hub;

#[path = "../support/gguf.rs"]
mod gguf_file;

mod adapters;
mod ask;
mod begin_token;
mod browser;
mod chat;
mod config;
mod data;
mod device;
mod doctor;
mod driven;
mod encode;
mod eval;
mod export;
mod fetch;
mod folders;
mod gguf;
mod hostile;
mod inspect;
mod json;
mod limits;
mod micro_batch;
mod places;
mod publish;
mod ranks;
mod reasoning;
mod report;
mod room;
mod serve;
mod server;
#[cfg(target_os = "linux")]
mod terminal;
mod token;

use std::fs;
use std::process::{Command, Stdio};

use room::{Room, names, stderr};
use serde_json::Value;

#[test]
fn an_unknown_key_is_refused_with_the_right_one() {
    let room = Room::new();
    let message = room.fail(&["--config", "c.toml", "--set", "inner.step=3"], 2);
    assert!(message.contains("inner.step: unknown key; did you mean `steps`?"), "{message}");
    assert!(!room.path("runs").exists());
}

#[test]
fn all_faults_of_a_configuration_are_reported_at_once() {
    let room = Room::new();
    let faults =
        ["lora.rank=0", "inner.differentiated=9", "eval.multiples=[2, 1]", "data.places=1", "modle.base=x"];
    let arguments: Vec<&str> = faults.iter().flat_map(|fault| ["--set", fault]).collect();
    let message = room.fail(&[&["--config", "c.toml"], arguments.as_slice()].concat(), 2);
    for part in ["5 faults", "lora.rank", "inner.differentiated", "eval.multiples", "data.places", "[model]"]
    {
        assert!(message.contains(part), "{part} is missing: {message}");
    }
}

#[test]
fn a_dry_run_says_what_would_be_trained_and_leaves_nothing() {
    let room = Room::new();
    let text = room.succeed(&["--config", "c.toml", "--dry-run", "--set", "lora.rank=3"]);
    // Seven projections of 16, 8 and 24 wide, rank 3; 14 tensors, 2 steps; a head of width 4.
    let adapter = 3 * (32 + 24 + 24 + 32 + 40 + 40 + 40);
    let trained = adapter + 28 + 4 * 18 + 1;
    assert!(text.contains("rank = 3"), "{text}");
    assert!(text.contains(&format!("trained parameters    {trained}")), "{text}");
    assert!(text.contains("memory, about"), "{text}");
    assert!(!room.path("runs").exists());
}

#[test]
fn a_run_leaves_its_files_and_prints_the_table_and_the_path_of_the_result_last() {
    let room = Room::new();
    let text = room.succeed(&["--config", "c.toml"]);
    let run = room.path("runs/tiny");
    assert_eq!(names(&run), ["checkpoints", "config.toml", "metrics.jsonl", "result.json"]);
    assert_eq!(names(&run.join("checkpoints")), ["best", "last"]);
    let files = ["adapter_config.json", "adapter_model.safetensors", "meta.safetensors", "state.json"];
    assert_eq!(names(&run.join("checkpoints/last")), files);
    assert_eq!(text.trim_end().lines().last().unwrap(), "runs/tiny/result.json");
    for method in ["perk", "no-adaptation", "icr"] {
        assert!(text.lines().any(|line| line.starts_with(method)), "{text}");
    }
    let result = room.result("runs/tiny");
    let rows = result["evaluation"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let [tokens, samples, truncated] =
            ["context_tokens", "samples", "truncated"].map(|key| row[key].as_u64().unwrap());
        let multiple: u64 = row["cell"]["length"].as_str().unwrap().trim_end_matches('x').parse().unwrap();
        assert_eq!((row["score"].is_number(), samples), (true, 4), "{row}");
        // The base has 128 positions: four times the trained length does not fit into the prompt.
        let fits = row["method"] != "icr" || multiple == 1;
        assert_eq!(truncated, if fits { 0 } else { 4 }, "{row}");
        assert!(tokens >= 40 * multiple, "{row}");
    }
    assert!(result["train_secs"].as_f64().unwrap() > 0.0 && result["eval_secs"].as_f64().unwrap() > 0.0);
    assert!(result["peak_bytes"].as_u64().unwrap() > 1 << 20);
    let metrics = room.metrics("runs/tiny");
    assert_eq!(metrics.iter().filter(|line| line["kind"] == "step").count(), 6);
    assert_eq!(metrics.iter().filter(|line| line["kind"] == "eval").count(), 3);
}

#[test]
fn the_same_seed_gives_the_same_numbers_however_many_episodes_run_at_once() {
    let room = Room::new();
    for (dir, episodes, seed) in [("one", 1, 4), ("many", 3, 4), ("other", 3, 5)] {
        let (episodes, seed) = (format!("outer.parallel_episodes={episodes}"), format!("run.seed={seed}"));
        room.succeed(&["--config", "c.toml", "--out", dir, "--set", &episodes, "--set", &seed]);
    }
    assert_eq!(room.metrics("one"), room.metrics("many"));
    assert_ne!(room.metrics("one"), room.metrics("other"));
}

#[test]
fn a_run_that_was_stopped_by_ctrl_c_continues_with_the_losses_of_an_uninterrupted_one() {
    continues_exactly("-INT", Some(130));
}

#[test]
fn a_run_that_was_killed_continues_with_the_losses_of_an_uninterrupted_one() {
    continues_exactly("-KILL", None);
}

fn continues_exactly(signal: &str, code: Option<i32>) {
    let room = Room::new();
    let steps = ["--config", "c.toml", "--set", "outer.steps=40", "--set", "run.checkpoint_every=1"];
    let mut arguments = steps.to_vec();
    arguments.extend(["--out", "whole"]);
    room.succeed(&arguments);
    let stopped = room.start_and_signal(&steps, "runs/tiny", signal);
    assert_eq!(stopped.status.code(), code, "{}", stderr(&stopped));
    assert!(!room.path("runs/tiny/result.json").exists(), "the run was over before it was stopped");
    if code.is_some() {
        assert!(stderr(&stopped).contains("perk meta-train --resume runs/tiny"), "{}", stderr(&stopped));
    }
    room.succeed(&["--resume", "runs/tiny"]);
    assert_eq!(room.metrics("runs/tiny"), room.metrics("whole"));
    let scores = |run: &str| {
        let rows = room.result(run)["evaluation"]["rows"].clone();
        rows.as_array().unwrap().iter().map(|row| row["score"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(scores("runs/tiny"), scores("whole"));
}

#[test]
fn a_changed_configuration_is_not_continued() {
    let room = Room::new();
    room.succeed(&["--config", "c.toml"]);
    let message = room.fail(&["--config", "c.toml", "--resume", "--set", "inner.lr=0.5"], 1);
    assert!(message.contains("inner.lr: now 0.5, saved 0.01"), "{message}");
    // What does not change the course of training may differ.
    room.succeed(&["--config", "c.toml", "--resume", "--set", "eval.episodes=2"]);
    assert_eq!(room.result("runs/tiny")["evaluation"]["rows"][0]["samples"], 2);
}

#[test]
fn a_second_run_gets_a_new_folder_and_a_named_one_is_not_written_over() {
    let room = Room::new();
    let short = ["--config", "c.toml", "--set", "outer.steps=1"];
    room.succeed(&short);
    let text = room.succeed(&short);
    assert!(text.contains("runs/tiny-2/result.json"), "{text}");
    let mut arguments = short.to_vec();
    arguments.extend(["--out", "runs/tiny"]);
    let message = room.fail(&arguments, 1);
    assert!(message.contains("--resume"), "{message}");
}

#[test]
fn a_second_stage_starts_from_the_checkpoint_of_the_first() {
    let room = Room::new();
    let once = ["--set", "outer.steps=1", "--set", "outer.warmup_steps=0", "--set", "eval.every=0"];
    room.succeed(&[&["--config", "c.toml", "--out", "first", "--set", "outer.lr=0.1"][..], &once].concat());
    let from = ["--set", "outer.start_from=first/checkpoints/last", "--config", "c.toml", "--out", "second"];
    room.succeed(&[&from[..], &once].concat());
    let loss = |run: &str| room.metrics(run)[0]["outer_loss"].as_f64().unwrap();
    assert!(loss("second") < loss("first"), "{} is not below {}", loss("second"), loss("first"));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_before_it_reaches_a_checkpoint() {
    let room = Room::new();
    let diverge =
        ["--set", "inner.optimizer=sgd", "--set", "inner.lr=1e30", "--set", "run.checkpoint_every=1"];
    let output = room.run(&[&["--config", "c.toml"][..], &diverge].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let named = message.contains("the inner loss is") && message.contains("at outer step 0, episode");
    assert!(named, "{message}");
    assert_eq!(room.json("runs/tiny/checkpoints/last/state.json")["step"], 0);
}

#[test]
fn a_base_that_is_not_there_is_one_clear_error() {
    let room = Room::new();
    let message = room.fail(&["--config", "c.toml", "--set", "model.base=nowhere"], 1);
    assert!(message.contains("nowhere"), "{message}");
    assert!(!room.path("runs").exists(), "a run that never began leaves no folder");
}

#[test]
fn numbers_beyond_all_use_are_refused_before_anything_is_allocated() {
    let most = i64::MAX;
    let room = Room::new();
    for key in [
        "lora.rank",
        "inner.steps",
        "inner.head_hidden",
        "outer.episodes_per_step",
        "eval.episodes",
        "eval.episodes_during",
        "eval.max_new_tokens",
        "data.number_offset_max",
        "data.context_tokens",
    ] {
        let message = room.fail(&["--config", "c.toml", "--set", &format!("{key}={most}")], 2);
        assert!(message.contains(key) && message.contains(&most.to_string()), "{message}");
    }
    let message = room.fail(&["--config", "c.toml", "--set", &format!("eval.multiples=[1, {most}]")], 2);
    assert!(message.contains("eval.multiples"), "{message}");
}

#[test]
fn a_length_that_the_background_cannot_fill_is_refused_before_training() {
    let room = Room::new();
    let sentences: Vec<String> = (0..60).map(|n| format!("The garden has {n} places.")).collect();
    fs::write(room.path("book.txt"), sentences.join(" ")).unwrap();
    let background = ["--config", "c.toml", "--set", "data.background=book.txt", "--set"];
    let message = room.fail(&[&background[..], &["eval.multiples=[1, 9]"]].concat(), 1);
    assert!(message.contains("too few sentences"), "{message}");
    assert!(!room.path("runs/tiny").exists());
    room.succeed(&[&background[..], &["eval.multiples=[1]"]].concat());
}

#[test]
fn more_adapted_layers_than_the_base_has_are_refused() {
    let room = Room::new();
    for mode in ["--dry-run", "--set=run.seed=1"] {
        let message = room.fail(&["--config", "c.toml", "--set", "lora.layers=9", mode], 1);
        assert!(message.contains("lora.layers") && message.contains("is 9"), "{message}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_no_run() {
    let room = Room::new();
    let mut child =
        room.command(&["--config", "c.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert!(child.wait().unwrap().success());
    assert_eq!(room.result("runs/tiny")["steps"], 6);
}

#[test]
fn a_damaged_checkpoint_is_one_clear_error() {
    let room = Room::new();
    room.succeed(&["--config", "c.toml"]);
    let last = room.path("runs/tiny/checkpoints/last");
    let damage = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let whole = fs::read(last.join(file)).unwrap();
        fs::write(last.join(file), change(whole.clone())).unwrap();
        let message = room.fail(&["--resume", "runs/tiny"], 1);
        assert!(message.contains("checkpoints/last"), "{message}");
        fs::write(last.join(file), whole).unwrap();
    };
    for file in ["meta.safetensors", "state.json"] {
        damage(file, &|_| Vec::new());
        damage(file, &|whole| whole[..whole.len() / 2].to_vec());
    }
    for (key, value) in [("next_episode", u64::MAX), ("step", 5), ("step", u64::MAX)] {
        damage("state.json", &|whole| {
            let mut state: Value = serde_json::from_slice(&whole).unwrap();
            state[key] = value.into();
            serde_json::to_vec(&state).unwrap()
        });
    }
    room.succeed(&["--resume", "runs/tiny"]);
}

#[test]
fn there_is_nothing_to_continue_where_nothing_was_run() {
    let room = Room::new();
    let message = room.fail(&["--config", "c.toml", "--resume"], 1);
    assert!(message.contains("no run to continue"), "{message}");
    room.fail(&["--resume", "base"], 1);
}

#[test]
fn pretraining_the_same_recipe_twice_gives_the_same_base_and_meta_train_takes_it() {
    let room = Room::new();
    let recipe = "[model]\nhidden_size = 16\nintermediate_size = 24\nnum_layers = 1\nnum_heads = 2\n\
                  num_kv_heads = 1\n[train]\nsteps = 3\nbatch = 2\nsequence_tokens = 32\nwarmup_steps = 1\n";
    fs::write(room.path("base.toml"), recipe).unwrap();
    let pretrain = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perk"));
        command.current_dir(room.path("")).args(["pretrain", "--config", "base.toml", "--out", out]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    pretrain("a");
    pretrain("b");
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let [a, b] = ["a", "b"].map(|dir| fs::read(room.path(dir).join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let arguments = ["--config", "c.toml", "--set", "model.base=a", "--set", "outer.steps=1"];
    room.succeed(&arguments);
}
