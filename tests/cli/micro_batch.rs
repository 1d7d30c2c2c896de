//! `inner.micro_batch_segments` and `--micro-batch`, where memory has a say in them.

use std::fs;

use super::room::{Room, message};

#[test]
fn a_run_of_a_version_that_chose_nothing_goes_on_as_it_was() {
    let room = Room::new();
    room.succeed(&["--config", "c.toml"]);
    // As versions wrote it whose defaults were numbers.
    let older = |text: &str| {
        let changed = text.replace("micro_batch_segments = \"auto\"", "micro_batch_segments = 1");
        assert_ne!(changed, text);
        changed.replace("episodes_together = 0\n", "episodes_together = 0\nmemory_gb = 16.0\n")
    };
    room.change_json("runs/tiny/checkpoints/last/state.json", |state| {
        state["config"] = older(state["config"].as_str().unwrap()).into();
    });
    let config = room.path("runs/tiny/config.toml");
    fs::write(&config, older(&fs::read_to_string(&config).unwrap())).unwrap();
    room.succeed(&["--resume", "runs/tiny"]);
    room.succeed(&["--config", "c.toml", "--resume", "runs/tiny"]);
    let asked = ["--config", "c.toml", "--resume", "runs/tiny", "--set", "inner.micro_batch_segments=2"];
    let refused = room.fail(&asked, 1);
    assert!(refused.contains("inner.micro_batch_segments: now 2, saved 1"), "{refused}");
}

#[test]
fn an_adapter_s_record_says_how_many_segments_were_computed_at_once() {
    let room = Room::trained();
    let recorded = |micro_batch: &str| {
        let encode = ["encode", "--context", "story.txt", "--out", "memory", "--force", "--device", "cpu"];
        room.prints(&[&encode[..], &["--micro-batch", micro_batch]].concat());
        room.json("memory/perk.json")["recipe"]["inner"]["micro_batch_segments"].clone()
    };
    assert_eq!([recorded("auto"), recorded("3")], [1, 3]);
}

#[test]
fn a_micro_batch_that_is_neither_is_refused_with_what_would_be_right() {
    let room = Room::trained();
    let output = room.perk(&["encode", "--context", "story.txt", "--micro-batch", "all"]).output().unwrap();
    let refused = message(&output, 2);
    assert!(refused.contains("\"auto\" or a number of segments"), "{refused}");
    let refused = room.fail(&["--config", "c.toml", "--set", "inner.micro_batch_segments=all"], 2);
    assert!(refused.contains("inner.micro_batch_segments") && refused.contains("\"auto\""), "{refused}");
}

#[test]
fn a_dry_run_says_what_is_computed_at_once() {
    let room = Room::new();
    let set = ["--set", "run.device=cpu", "--set", "outer.parallel_episodes=1"];
    let plan = |more: &[&str]| room.succeed(&[&["--config", "c.toml", "--dry-run"], &set[..], more].concat());
    let text = plan(&[]);
    for line in ["micro_batch_segments = \"auto\"", "episodes at once      1", "segments at once      1"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = plan(&["--set", "outer.episodes_together=2", "--set", "inner.micro_batch_segments=7"]);
    assert!(text.contains("episodes at once      2\nsegments at once      7"), "{text}");
}
