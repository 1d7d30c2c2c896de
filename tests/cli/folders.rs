//! Folders with one writer, and the ends of runs.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use perk::checkpoint::Lock;

use super::room::{Room, message, names, printed, stderr};

const SHORT: [&str; 8] = [
    "--config",
    "c.toml",
    "--set",
    "eval.multiples=[1]",
    "--set",
    "eval.episodes=1",
    "--set",
    "run.checkpoint_every=1",
];

fn spawn(room: &Room, arguments: &[&str]) -> Child {
    room.perk(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until `is_so`.
fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "not in a minute: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn runs_that_are_started_together_each_get_a_folder_of_their_own() {
    let room = Room::new();
    let seeds = ["run.seed=0", "run.seed=1", "run.seed=2"];
    let started = seeds.map(|seed| spawn(&room, &[&["meta-train"], &SHORT[..], &["--set", seed]].concat()));
    for run in started {
        printed(run.wait_with_output().unwrap());
    }
    assert_eq!(names(&room.path("runs")), ["tiny", "tiny-2", "tiny-3"]);
    let mut found: Vec<u64> = Vec::new();
    for run in ["runs/tiny", "runs/tiny-2", "runs/tiny-3"] {
        let seed = room.result(run)["evaluation"]["seed"].as_u64().unwrap();
        assert_eq!(room.json(&format!("{run}/checkpoints/last/state.json"))["seed"], seed);
        let config = fs::read_to_string(room.path(run).join("config.toml")).unwrap();
        assert!(config.contains(&format!("seed = {seed}\n")), "{config}");
        assert_eq!(room.metrics(run).iter().filter(|line| line["kind"] == "step").count(), 6);
        found.push(seed);
    }
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2]);
}

#[test]
fn a_run_that_goes_on_is_neither_started_nor_continued_a_second_time() {
    let room = Room::new();
    let long = [&["meta-train"], &SHORT[..], &["--set", "outer.steps=100000"]].concat();
    let mut run = spawn(&room, &long);
    wait("a step", || {
        fs::read_to_string(room.path("runs/tiny/metrics.jsonl")).is_ok_and(|t| t.lines().count() > 2)
    });
    for again in [
        &["meta-train", "--resume", "runs/tiny"][..],
        &["meta-train", "--config", "c.toml", "--resume"],
        &["meta-train", "--config", "c.toml", "--out", "runs/tiny"],
        &["finetune", "--config", "c.toml", "--out", "runs/tiny"],
    ] {
        let refused = room.refuses(again);
        assert!(refused.contains("runs/tiny: another process is writing here"), "{again:?}: {refused}");
    }
    run.kill().unwrap();
    run.wait().unwrap();
    // The lock ends with the process, although its file stays.
    assert!(room.path("runs/.tiny.lock").exists());
    let steps =
        || fs::read_to_string(room.path("runs/tiny/metrics.jsonl")).map_or(0, |text| text.lines().count());
    let before = steps();
    let resumed = spawn(&room, &["meta-train", "--resume", "runs/tiny"]);
    wait("more steps", || steps() > before + 2);
    let sent = Command::new("kill").args(["-INT", &resumed.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let stopped = resumed.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(130), "{}", stderr(&stopped));
    assert!(!room.path("runs/.tiny.lock").exists());
}

#[test]
fn every_command_that_writes_a_folder_is_its_only_writer() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "adapters/one"]);
    fs::write(room.path("base.toml"), "[train]\nsteps = 1\nwarmup_steps = 1\n").unwrap();
    fs::write(room.path("q.jsonl"), "{\"question\": \"Where is Mary?\"}\n").unwrap();
    let before = names(&room.path(""));
    let lock = Lock::take(&room.path("held")).unwrap();
    for command in [
        &["meta-train", "--config", "c.toml", "--out", "held"][..],
        &["finetune", "--config", "c.toml", "--out", "held"],
        &["pretrain", "--config", "base.toml", "--out", "held"],
        &["encode", "--context", "story.txt", "--out", "held"],
        &["eval", "--task", "held-out", "--lengths", "1x", "--samples", "1", "--out", "held"],
        &["export", "--adapter", "one", "--out", "held"],
        &["ask", "--adapter", "one", "--questions", "q.jsonl", "--out", "held"],
    ] {
        let refused = room.refuses(command);
        assert!(refused.contains("held: another process is writing here"), "{command:?}: {refused}");
    }
    drop(lock);
    assert_eq!(names(&room.path("")), before);
    let _lock = Lock::take(&room.path("adapters/one")).unwrap();
    assert!(room.refuses(&["adapters", "rm", "one"]).contains("another process is writing here"));
}

#[test]
fn a_folder_is_reserved_before_the_base_is_read() {
    let room = Room::trained();
    let _lock = Lock::take(&room.path("held")).unwrap();
    fs::rename(room.path("base"), room.path("elsewhere")).unwrap();
    for command in [
        &["meta-train", "--config", "c.toml", "--out", "held"][..],
        &["encode", "--context", "story.txt", "--out", "held"],
        &["eval", "--task", "held-out", "--lengths", "1x", "--out", "held"],
    ] {
        let refused = room.refuses(command);
        assert!(refused.contains("another process is writing here"), "{command:?}: {refused}");
    }
}

#[test]
fn a_run_that_ended_before_its_first_step_is_begun_anew_in_its_folder() {
    let room = Room::new();
    let out = ["--config", "c.toml", "--out", "r"];
    let diverge = ["--set", "inner.optimizer=sgd", "--set", "inner.lr=1e30"];
    room.fail(&[&out[..], &diverge].concat(), 1);
    let short = [&out[..], &SHORT[2..]].concat();
    let output = room.run(&short);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("r: takes over a run that did not finish its first step"));
    assert_eq!(
        room.metrics("r").iter().filter(|line| line["kind"] == "step").count(),
        6,
        "of the new run alone"
    );
    assert!(room.fail(&short, 1).contains("holds a run of 6 outer steps: continue it with --resume r"));
}

/// Whatever a run left when it was killed, a new run and `--resume` between them take it.
#[test]
fn no_moment_of_an_end_leaves_a_folder_that_nothing_takes() {
    let room = Room::new();
    let new = [&["--out", "r"], &SHORT[..]].concat();
    room.succeed(&[&new[..], &["--set", "outer.steps=1"]].concat());
    let whole = |name: &str| fs::read(room.path("r").join(name)).unwrap();
    let files =
        ["config.toml", "metrics.jsonl", "checkpoints/last/state.json"].map(|name| (name, whole(name)));
    fs::remove_dir_all(room.path("r")).unwrap();
    for (count, half) in [
        (0, ".config.toml.tmp-aB3dE6"),
        (1, ".metrics.jsonl.tmp-aB3dE6"),
        (2, "checkpoints/.last.tmp-aB3dE6/x"),
    ] {
        fs::create_dir_all(room.path("r/checkpoints/.last.tmp-aB3dE6")).unwrap();
        fs::write(room.path("r").join(half), "half").unwrap();
        if count < 2 {
            fs::remove_dir_all(room.path("r/checkpoints")).unwrap();
        }
        for (name, bytes) in &files[..count] {
            fs::write(room.path("r").join(name), bytes).unwrap();
        }
        let refused = room.fail(&["--resume", "r"], 1);
        let advice = if count == 0 { "nothing to continue" } else { "start the run again" };
        assert!(refused.contains(advice), "{refused}");
        room.succeed(&new);
        fs::remove_dir_all(room.path("r")).unwrap();
    }
}

#[test]
fn a_run_that_is_killed_in_its_first_step_is_continued() {
    let room = Room::new();
    let slow = ["--set", "outer.episodes_per_step=200", "--set", "eval.every=0", "--set", "outer.steps=1000"];
    let slow = [&["meta-train"], &SHORT[..], &slow].concat();
    let mut run = spawn(&room, &slow);
    wait("the first checkpoint", || room.path("runs/tiny/checkpoints/last/state.json").exists());
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(room.json("runs/tiny/checkpoints/last/state.json")["step"], 0);
    let stopped = room.start_and_signal(&["--resume", "runs/tiny"], "runs/tiny", "-INT");
    assert_eq!(stopped.status.code(), Some(130), "{}", stderr(&stopped));
    assert!(room.json("runs/tiny/checkpoints/last/state.json")["step"].as_u64() > Some(0));
}

#[test]
fn a_changed_configuration_is_sent_to_another_folder_and_not_back() {
    let room = Room::new();
    room.succeed(&[&["--out", "r"], &SHORT[..]].concat());
    let changed = room.fail(&["--config", "c.toml", "--resume", "r", "--set", "inner.lr=0.5"], 1);
    assert!(changed.contains("start a new run for these, in another folder (--out)"), "{changed}");
    room.succeed(&[&["--out", "s", "--set", "inner.lr=0.5"], &SHORT[..]].concat());
}

#[test]
fn pretraining_replaces_only_a_base_that_it_made_and_that_as_a_whole() {
    let room = Room::new();
    let recipe = "[model]\nhidden_size = 16\nintermediate_size = 24\nnum_layers = 1\nnum_heads = 2\n\
                  num_kv_heads = 1\n[train]\nsteps = 2\nbatch = 2\nsequence_tokens = 32\nwarmup_steps = 1\n";
    fs::write(room.path("base.toml"), recipe).unwrap();
    let pretrain = |out: &str, more: &[&str]| -> Output {
        let arguments = [&["pretrain", "--config", "base.toml", "--out", out], more].concat();
        room.perk(&arguments).output().unwrap()
    };
    // The base of the room was made elsewhere.
    let before = fs::read(room.path("base/model.safetensors")).unwrap();
    let refused = message(&pretrain("base", &[]), 1);
    assert!(refused.contains("holds config.json and no recipe.toml"), "{refused}");
    assert!(fs::read(room.path("base/model.safetensors")).unwrap() == before);
    printed(pretrain("made", &[]));
    fs::write(room.path("made/notes.txt"), "mine").unwrap();
    let first = fs::read(room.path("made/model.safetensors")).unwrap();
    // One that fails leaves the whole of the old one, tokenizer and weights.
    message(
        &pretrain(
            "made",
            &["--set", "train.lr=1e30", "--set", "train.steps=9", "--set", "train.warmup_steps=0"],
        ),
        1,
    );
    assert!(fs::read(room.path("made/model.safetensors")).unwrap() == first);
    printed(pretrain("made", &["--set", "train.seed=1"]));
    assert!(fs::read(room.path("made/model.safetensors")).unwrap() != first);
    let files = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "notes.txt",
        "recipe.toml",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&room.path("made")), files);
}

#[test]
fn answers_and_evaluations_are_written_over_nothing_that_is_not_perks() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "adapters/one"]);
    fs::write(room.path("q.jsonl"), "{\"question\": \"Where is Mary?\"}\n").unwrap();
    fs::write(room.path("notes.txt"), "notes without a line break").unwrap();
    std::os::unix::fs::symlink("nowhere.jsonl", room.path("link.jsonl")).unwrap();
    let ask = |out: &str| room.refuses(&["ask", "--adapter", "one", "--questions", "q.jsonl", "--out", out]);
    assert!(ask("notes.txt").contains("notes.txt:1: is no line of this file's kind"));
    assert_eq!(fs::read_to_string(room.path("notes.txt")).unwrap(), "notes without a line break");
    assert!(ask("link.jsonl").contains("link.jsonl: is a symbolic link"));
    assert!(!room.path("nowhere.jsonl").exists());
    let eval = ["eval", "--task", "held-out", "--lengths", "1x", "--samples", "1", "--out", "e"];
    fs::create_dir(room.path("e")).unwrap();
    fs::write(room.path("e/results.md"), "mine").unwrap();
    assert!(room.refuses(&eval).contains("holds results.md, and is no evaluation"));
    fs::remove_file(room.path("e/results.md")).unwrap();
    // What a killed evaluation has left is in nobody's way.
    fs::write(room.path("e/.settings.json.tmp-aB3dE6"), "half").unwrap();
    room.prints(&eval);
    fs::remove_file(room.path("e/results.md")).unwrap();
    fs::write(room.path("mine.md"), "mine").unwrap();
    std::os::unix::fs::symlink("../mine.md", room.path("e/results.md")).unwrap();
    assert!(room.refuses(&eval).contains("results.md: is a symbolic link"));
    assert_eq!(fs::read_to_string(room.path("mine.md")).unwrap(), "mine");
}
