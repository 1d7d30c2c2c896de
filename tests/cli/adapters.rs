//! `perk adapters` and `perk export`.

use std::fs;

use candle_core::{DType, Device};
use serde_json::{Value, json};

use super::room::{Room, STORY, message, names, stderr};

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
        lines[0].starts_with("one ") && lines[0].contains("/base  from ") && lines[0].contains("story.txt"),
        "{list}"
    );
    let shown: serde_json::Value = serde_json::from_str(&room.prints(&["adapters", "show", "two"])).unwrap();
    assert_eq!(shown, room.json("adapters/two/perk.json"));
    assert!(room.prints(&["adapters", "rm", "one"]).contains("adapters/one"));
    assert_eq!(names(&room.path("adapters")), ["two"]);
    let gone = room.refuses(&["adapters", "rm", "one"]);
    assert!(gone.contains("adapters/one: there is no such adapter"), "{gone}");
}

#[test]
fn a_store_that_is_not_there_is_an_error_and_not_an_empty_one() {
    let room = encoded();
    for action in [&["list"][..], &["verify"], &["verify", "one"], &["show", "one"], &["rm", "one"]] {
        let arguments = [&["adapters"], action, &["--store", "nowhere"]].concat();
        let refused = room.refuses(&arguments);
        assert!(refused.contains("nowhere: there is no store here"), "{action:?}: {refused}");
        assert!(!room.path("nowhere").exists());
    }
    fs::create_dir(room.path("empty")).unwrap();
    for action in ["list", "verify"] {
        let output = room.perk(&["adapters", action, "--store", "empty"]).output().unwrap();
        assert!(output.status.success() && stderr(&output).contains("holds no adapter"));
    }
}

#[test]
fn what_is_not_perks_stays_when_an_adapter_is_removed() {
    let room = encoded();
    fs::write(room.path("adapters/one/notes.txt"), "mine").unwrap();
    let printed = room.prints(&["adapters", "rm", "one"]);
    assert!(printed.contains("but for what is not perk's: notes.txt"), "{printed}");
    assert_eq!(names(&room.path("adapters/one")), ["notes.txt"]);
    room.prints(&["adapters", "rm", "two"]);
    assert_eq!(names(&room.path("adapters")), ["one"]);
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
    assert_eq!(names(&room.path("peft")), ["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    let tensors = |dir: &str| fs::read(room.path(dir).join("adapter_model.safetensors")).unwrap();
    assert!(tensors("peft") == tensors("adapters/one"));
    export("merged", "merged");
    let files = [
        "README.md",
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

#[test]
fn a_merged_model_has_the_files_and_the_number_types_of_its_base() {
    let room = Room::new();
    let (path, base) = (room.path("base/config.json"), room.path("base"));
    let mut config = room.json("base/config.json");
    let own = json!({"bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [1, 2], "torch_dtype": "bfloat16",
        "unknown_to_perk": {"kept": true}});
    config.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    fs::write(&path, config.to_string()).unwrap();
    fs::write(base.join("generation_config.json"), r#"{"eos_token_id": [1, 2], "top_k": 20}"#).unwrap();
    fs::write(base.join("chat_template.jinja"), "{{ messages }}").unwrap();
    let weights = candle_core::safetensors::load(base.join("model.safetensors"), &Device::Cpu).unwrap();
    // Norms in f32 beside weights in bf16, as some bases have them.
    let typed = weights.into_iter().map(|(name, tensor)| {
        let dtype = if name.ends_with("norm.weight") { DType::F32 } else { DType::BF16 };
        (name, tensor.to_dtype(dtype).unwrap())
    });
    let typed: Vec<_> = typed.collect();
    safetensors::serialize_to_file(typed.clone(), None, &base.join("model.safetensors")).unwrap();
    fs::write(room.path("story.txt"), STORY).unwrap();
    room.prints(&["encode", "--untrained", "c.toml", "--context", "story.txt", "--out", "adapters/one"]);
    room.prints(&["export", "--adapter", "one", "--format", "merged", "--out", "merged"]);
    let files = ["chat_template.jinja", "config.json", "generation_config.json"];
    for file in files.iter().chain(&["tokenizer.json", "tokenizer_config.json"]) {
        let [kept, own] = ["merged", "base"].map(|dir| fs::read(room.path(dir).join(file)).unwrap());
        assert!(kept == own, "{file} has changed");
    }
    let merged = candle_core::safetensors::load(room.path("merged/model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(merged.len(), typed.len());
    for (name, tensor) in typed {
        assert_eq!(merged[&name].dtype(), tensor.dtype(), "{name}");
        let same = merged[&name].to_dtype(DType::F64).unwrap().eq(&tensor.to_dtype(DType::F64).unwrap());
        let same = same.unwrap().to_dtype(DType::U32).unwrap().sum_all().unwrap().to_scalar::<u32>().unwrap();
        assert_eq!(same as usize == tensor.elem_count(), !name.contains("_proj.weight"), "{name}");
    }
    room.succeed(&["--config", "c.toml", "--set", "model.base=merged", "--set", "outer.steps=1"]);
}

#[test]
fn an_export_replaces_nothing_and_follows_no_link() {
    let room = encoded();
    fs::create_dir(room.path("real")).unwrap();
    std::os::unix::fs::symlink("real", room.path("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", room.path("dangling")).unwrap();
    for format in ["peft", "merged", "gguf-lora"] {
        for out in ["link", "dangling"] {
            let refused = room.refuses(&["export", "--adapter", "one", "--format", format, "--out", out]);
            assert!(refused.contains(&format!("{out}: is a symbolic link")), "{refused}");
        }
    }
    assert!(names(&room.path("real")).is_empty() && !room.path("nowhere").exists());
}

#[test]
fn an_adapter_that_has_changed_is_not_exported() {
    let room = encoded();
    let path = room.path("adapters/one/adapter_config.json");
    let mut config: Value = room.json("adapters/one/adapter_config.json");
    config["lora_alpha"] = json!(3);
    fs::write(path, config.to_string()).unwrap();
    let refused = room.refuses(&["export", "--adapter", "one", "--out", "peft"]);
    assert!(refused.contains("is not what perk encode wrote"), "{refused}");
    assert!(!room.path("peft").exists());
}
