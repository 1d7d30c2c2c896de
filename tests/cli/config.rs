//! `perk config`, `perk completions`, `perk man`, and what every command takes.

use std::fs;

use serde_json::Value;

use super::room::{Room, message, names, printed, stderr};

const FAULTY: &str = "[model]\nbase = \"base\"\n\n[inner]\nsteps = 0\nbeta1 = 1.5\n[iner]\n[data]\nsegment_tokens = \"many\"\n";

#[test]
fn every_fault_of_a_configuration_has_its_file_and_line() {
    let room = Room::new();
    fs::write(room.path("bad.toml"), FAULTY).unwrap();
    let output = room.perk(&["config", "check", "c.toml", "bad.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.remove(0), "c.toml: ok");
    for (line, key) in [(5, "inner.steps"), (6, "inner.beta1"), (7, "iner"), (9, "data.segment_tokens")] {
        let start = format!("bad.toml:{line}: {key}: ");
        assert!(lines.iter().any(|found| found.starts_with(&start)), "{start} is missing in {text}");
    }
    let output = room.perk(&["config", "check", "--json", "bad.toml"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["ok"], found["faults"].as_array().unwrap().len()), (&false.into(), lines.len()));
    let steps =
        found["faults"].as_array().unwrap().iter().find(|fault| fault["key"] == "inner.steps").unwrap();
    assert_eq!((&steps["file"], &steps["line"]), (&"bad.toml".into(), &5.into()));
    // Commands that read it say the same lines.
    let refused = room.fail(&["--config", "bad.toml", "--set", "inner.beta1=2"], 2);
    assert!(refused.contains("line 5, inner.steps:") && refused.contains("\n  inner.beta1:"), "{refused}");
}

#[test]
fn what_is_no_toml_is_said_with_every_line_that_is_none() {
    let room = Room::new();
    fs::write(room.path("bad.toml"), "[model]\nbase = \n[inner]\nsteps 3\n").unwrap();
    let output = room.perk(&["config", "check", "bad.toml"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("bad.toml:2: not valid TOML") && text.contains("bad.toml:4: not valid TOML"),
        "{text}"
    );
    assert!(room.fail(&["--config", "bad.toml"], 2).contains("line 2: not valid TOML"));
    assert!(room.refuses(&["config", "check", "nowhere.toml"]).contains("nowhere.toml"));
}

#[test]
fn the_shipped_configurations_are_good_and_the_schema_knows_their_keys() {
    let room = Room::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let schema = |of: &str| -> Value {
        serde_json::from_str(&room.prints(&["config", "schema", "--for", of])).unwrap()
    };
    let (runs, bases) = (schema("meta-train"), schema("pretrain"));
    for name in names(&folder) {
        let path = folder.join(&name);
        let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let (of, schema) =
            if table.contains_key("corpus") { ("pretrain", &bases) } else { ("meta-train", &runs) };
        room.prints(&["config", "check", "--for", of, path.to_str().unwrap()]);
        for (block, keys) in &table {
            for key in keys.as_table().unwrap().keys() {
                let place = format!("/properties/{block}/properties/{key}/description");
                assert!(schema.pointer(&place).is_some(), "{name}: {block}.{key}");
            }
        }
    }
}

#[test]
fn shells_and_readers_get_what_the_command_line_has() {
    let room = Room::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = room.prints(&["completions", shell]);
        assert!(script.contains("meta-train") && script.contains("segment-tokens"), "{shell}");
    }
    assert!(message(&room.perk(&["completions", "csh"]).output().unwrap(), 2).contains("bash"));
    assert_eq!(room.prints(&["man", "--out", "pages"]).trim(), "pages");
    let pages = names(&room.path("pages"));
    for page in ["perk.1", "perk-meta-train.1", "perk-adapters-verify.1", "perk-config-check.1"] {
        assert!(pages.contains(&page.to_owned()), "{page} is missing in {pages:?}");
    }
}

#[test]
fn quiet_leaves_results_and_errors_and_verbose_says_every_step() {
    let room = Room::new();
    let run = |arguments: &[&str]| {
        let small = ["--config", "c.toml", "--set", "eval.multiples=[1]", "--set", "eval.episodes=1"];
        let output = room.run(&[&small[..], arguments].concat());
        let notes = stderr(&output);
        (printed(output), notes)
    };
    let (usual, notes) = run(&["--out", "runs/a"]);
    assert!(notes.contains("step 1/6") && !notes.contains("step 2/6"), "{notes}");
    let (quiet, notes) = run(&["--out", "runs/b", "-q"]);
    assert_eq!(notes, "");
    // Times differ from run to run.
    let scores =
        |text: &str| text.lines().filter(|line| line.contains('±')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(scores(&quiet), scores(&usual));
    let (_, notes) = run(&["--out", "runs/c", "-v"]);
    for said in ["step 2/6", "step 3/6", "saved runs/c/checkpoints/last", "took "] {
        assert!(notes.contains(said), "{said} is missing in {notes}");
    }
    assert!(room.perk(&["doctor", "-q", "-v"]).output().unwrap().status.code() == Some(2));
    assert!(room.refuses(&["adapters", "list", "-q"]).contains("no store"));
}

#[test]
fn colours_of_messages_are_chosen_too() {
    let room = Room::new();
    let said = |arguments: &[&str], variable: Option<(&str, &str)>| {
        let mut command = room.perk(arguments);
        command.envs(variable);
        stderr(&command.output().unwrap())
    };
    let wrong = ["encode", "--nothing"];
    assert!(!said(&wrong, None).contains('\u{1b}'), "a pipe");
    assert!(!said(&[&wrong[..], &["--color=never"]].concat(), None).contains('\u{1b}'));
    let help = |arguments: &[&str]| printed(room.perk(arguments).output().unwrap());
    assert!(help(&["--color", "always", "encode", "--help"]).contains('\u{1b}'));
    assert!(!help(&["encode", "--help"]).contains('\u{1b}'));
}
