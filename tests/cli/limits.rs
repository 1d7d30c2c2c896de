//! Counts on the command line and in a configuration that no use has: refused before anything is allocated.

use std::process::Command;

use super::room::{Room, message};

const HUGE: [&str; 3] = ["0", "18446744073709551615", "18446744073709551616"];

#[test]
fn a_count_that_makes_no_sense_is_refused_at_the_command_line() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "adapters/one"]);
    let eval = ["eval", "--task", "held-out", "--lengths", "1x", "--out", "e"];
    let ask = ["ask", "--adapter", "one", "Where is Mary?"];
    let encode = ["encode", "--context", "story.txt", "--out", "m"];
    for (command, option) in [
        (&eval[..], "--samples"),
        (&eval, "--max-tokens"),
        (&ask, "--max-tokens"),
        (&encode, "--steps"),
        (&encode, "--micro-batch"),
        (&encode, "--segment-tokens"),
    ] {
        for number in HUGE {
            let output = room.perk(&[command, &[option, number]].concat()).output().unwrap();
            let refused = message(&output, 2);
            assert!(refused.contains(number), "{option} {number}: {refused}");
        }
        assert!(!room.path("e").exists() && !room.path("m").exists());
    }
    for length in ["18446744073709551615x", "99999999999999M", "0x", "65537x", "68M"] {
        let arguments = ["eval", "--task", "held-out", "--lengths", length];
        let refused = message(&room.perk(&arguments).output().unwrap(), 2);
        assert!(refused.contains(length), "{refused}");
    }
}

#[test]
fn the_most_tokens_that_are_allowed_overflow_nothing() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "adapters/one"]);
    let most = ["--max-tokens", "65536"];
    let refused = room.refuses(&[&["ask", "--adapter", "one", "Where is Mary?"][..], &most].concat());
    assert!(refused.contains("the model has 128"), "{refused}");
    let eval = ["eval", "--task", "held-out", "--lengths", "1x", "--samples", "1"];
    let refused = room.refuses(&[&eval[..], &most].concat());
    assert!(refused.contains("128 positions") && refused.contains("--max-tokens"), "{refused}");
}

#[test]
fn every_count_of_a_configuration_has_an_end() {
    let room = Room::new();
    let most = i64::MAX;
    for key in [
        "lora.rank",
        "inner.steps",
        "inner.head_hidden",
        "inner.micro_batch_segments",
        "outer.steps",
        "outer.episodes_per_step",
        "outer.warmup_steps",
        "outer.parallel_episodes",
        "data.context_tokens",
        "data.segment_tokens",
        "data.number_offset_max",
        "data.background_min_tokens",
        "data.min_facts",
        "data.max_facts",
        "data.questions",
        "eval.every",
        "eval.episodes",
        "eval.episodes_during",
        "eval.max_new_tokens",
        "run.checkpoint_every",
    ] {
        let refused = room.fail(&["--config", "c.toml", "--set", &format!("{key}={most}")], 2);
        assert!(refused.contains(key), "{key}: {refused}");
    }
    // The largest of all at once is still a plan.
    let large = [
        "lora.rank=16384",
        "inner.steps=1000",
        "inner.head_hidden=65536",
        "inner.micro_batch_segments=16777216",
        "data.segment_tokens=16777216",
        "data.context_tokens=16777216",
        "outer.episodes_per_step=65536",
        "outer.parallel_episodes=1024",
    ];
    let set: Vec<&str> = large.iter().flat_map(|key| ["--set", key]).collect();
    room.succeed(&[&["--config", "c.toml", "--dry-run"], set.as_slice()].concat());
}

#[test]
#[cfg(unix)]
fn threads_that_the_system_does_not_grant_are_an_error_and_no_panic() {
    let room = Room::trained();
    // A stack larger than all memory granted is refused for the first thread already. Many threads of small ones would be
    // granted in part, and std panics where a thread that has started cannot have the memory of its signal stack.
    let script =
        format!("ulimit -v 4000000; exec {} ask --adapter none 'Where is Mary?'", env!("CARGO_BIN_EXE_perk"));
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(room.path("")).env("RUST_MIN_STACK", "8000000000");
    let refused = message(&command.output().unwrap(), 1);
    assert!(refused.contains("threads could not be started") && !refused.contains("panicked"), "{refused}");
}
