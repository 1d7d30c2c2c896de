//! `perk adapters` and `perk export`.

use std::fs;

use super::room::{Room, message, names};

/// A room with two encoded contexts in its store.
fn encoded() -> Room {
    let room = Room::trained();
    for (name, steps) in [("one", "1"), ("two", "2")] {
        let out = format!("adapters/{name}");
        room.prints(&["encode", "--context", "story.txt", "--out", &out, "--steps", steps]);
    }
    room
}

#[test]
fn adapters_are_listed_shown_and_removed() {
    let room = encoded();
    let list = room.prints(&["adapters", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(
        lines[0].starts_with("one ") && lines[0].contains("on base") && lines[0].contains("story.txt"),
        "{list}"
    );
    let shown: serde_json::Value = serde_json::from_str(&room.prints(&["adapters", "show", "two"])).unwrap();
    assert_eq!(shown, room.json("adapters/two/perk.json"));
    assert!(room.prints(&["adapters", "rm", "one"]).contains("adapters/one"));
    assert_eq!(names(&room.path("adapters")), ["two"]);
    let gone = room.refuses(&["adapters", "rm", "one"]);
    assert!(gone.contains("adapters/one: there is no such adapter"), "{gone}");
    assert_eq!(room.prints(&["adapters", "list", "--store", "nowhere"]), "");
}

#[test]
fn a_name_that_leads_out_of_the_store_is_refused() {
    let room = encoded();
    for action in ["show", "rm", "verify"] {
        for name in ["../runs", "/etc", ".", "one/../two"] {
            let refused = room.refuses(&["adapters", action, name]);
            assert!(refused.contains("leads out of the store"), "{action} {name}: {refused}");
        }
    }
    assert_eq!(names(&room.path("adapters")), ["one", "two"]);
}

#[test]
fn verify_finds_changed_files_numbers_that_are_none_and_other_bases() {
    let room = encoded();
    let verify = ["adapters", "verify"];
    assert_eq!(room.prints(&verify), "one: ok\ntwo: ok\n");
    let path = room.path("adapters/one/adapter_model.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    // The last number becomes a NaN.
    let end = changed.len();
    changed[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &changed).unwrap();
    let output = room.perk(&verify).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), "two: ok\n");
    assert!(message(&output, 1).contains("one: ") && message(&output, 1).contains("NaN"));
    changed[end - 4..].copy_from_slice(&1f32.to_le_bytes());
    fs::write(&path, &changed).unwrap();
    assert!(room.refuses(&["adapters", "verify", "one"]).contains("is not what perk encode wrote"));
    fs::write(&path, whole).unwrap();
    room.prints(&["adapters", "verify", "one"]);
    room.change_base();
    assert!(room.refuses(&["adapters", "verify", "two"]).contains("belongs to another base"));
}

#[test]
fn an_adapter_is_exported_for_other_tools() {
    let room = encoded();
    let export = |format: &str, out: &str| {
        room.prints(&["export", "--adapter", "one", "--format", format, "--out", out])
    };
    assert_eq!(export("peft", "peft"), "peft\n");
    assert_eq!(names(&room.path("peft")), ["adapter_config.json", "adapter_model.safetensors"]);
    let tensors = |dir: &str| fs::read(room.path(dir).join("adapter_model.safetensors")).unwrap();
    assert!(tensors("peft") == tensors("adapters/one"));
    export("merged", "merged");
    let files = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&room.path("merged")), files);
    // The merged model is a base like any other.
    room.succeed(&["--config", "c.toml", "--set", "model.base=merged", "--set", "outer.steps=1"]);
    export("gguf-lora", "one.gguf");
    assert_eq!(fs::read(room.path("one.gguf")).unwrap()[..4], *b"GGUF");
    let taken = room.refuses(&["export", "--adapter", "one", "--out", "peft"]);
    assert!(taken.contains("peft: exists"), "{taken}");
}
