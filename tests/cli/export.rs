//! `perk export --verify`, and the model card beside an export.

use std::fs;

use candle_core::{DType, Device, Tensor};
use perk::commands::export::Form;
use perk::commands::verify_export::{Verified, verify};
use perk::model::HubSettings;
use perk::store::StoredAdapter;

use super::room::{Room, STORY, names, printed, stderr};

const FORMATS: [(&str, Form); 3] =
    [("peft", Form::Peft), ("merged", Form::Merged), ("gguf-lora", Form::GgufLora)];

/// A room with an adapter that changes a good deal, and folders to export to.
fn room() -> Room {
    let room = Room::new();
    fs::write(room.path("story.txt"), STORY).unwrap();
    let strong = ["--untrained", "c.toml", "--set", "inner.lr=0.1", "--set", "inner.head=false"];
    room.prints(&[&["encode", "--context", "story.txt", "--out", "adapters/one"], &strong[..]].concat());
    for (format, _) in FORMATS {
        fs::create_dir(room.path(format)).unwrap();
    }
    room
}

fn export(room: &Room, format: &str, more: &[&str]) -> String {
    let out = format!("{format}/one");
    room.prints(&[&["export", "--adapter", "one", "--format", format, "--out", &out], more].concat())
}

fn verified(room: &Room, format: &str, form: Form) -> Verified {
    let stored = StoredAdapter::open(&room.path("adapters/one")).unwrap();
    let base = room.path("base");
    verify(&stored, form, &room.path(format).join("one"), base.to_str(), &HubSettings::default()).unwrap()
}

/// Writes some tensors of a safetensors file otherwise.
fn change(path: &std::path::Path, change: impl Fn(&str, Tensor) -> Tensor) {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let changed: Vec<_> =
        tensors.into_iter().map(|(name, tensor)| (name.clone(), change(&name, tensor))).collect();
    safetensors::serialize_to_file(changed, None, path).unwrap();
}

#[test]
fn every_form_is_read_back_and_computes_what_the_adapter_does() {
    let room = room();
    for (format, form) in FORMATS {
        let text = export(&room, format, &["--verify"]);
        assert!(text.contains("logits of 3 prompts") && text.ends_with(&format!("{format}/one\n")), "{text}");
        let found = verified(&room, format, form);
        assert!(found.holds() && found.positions > 30 && found.largest_logit > 0.01, "{format}: {found:?}");
    }
}

#[test]
fn an_export_that_computes_something_else_is_found_out() {
    let room = room();
    for (format, form) in FORMATS {
        export(&room, format, &[]);
        let out = room.path(format).join("one");
        match form {
            // One projection of the adapter, and one weight, a little larger.
            Form::Peft => change(&out.join("adapter_model.safetensors"), |name, tensor| {
                if name.contains("o_proj.lora_B") { (tensor * 1.5).unwrap() } else { tensor }
            }),
            Form::Merged => change(&out.join("model.safetensors"), |name, tensor| {
                if name.contains("o_proj") { (tensor * 1.01).unwrap() } else { tensor }
            }),
            Form::MergedGguf => unreachable!("this base has no such form"),
            // The last number of the file becomes a large one.
            Form::GgufLora => {
                let mut bytes = fs::read(&out).unwrap();
                let numbers = bytes.windows(8).rposition(|part| part.iter().any(|byte| *byte != 0)).unwrap();
                bytes[numbers..numbers + 4].copy_from_slice(&9f32.to_le_bytes());
                fs::write(&out, bytes).unwrap();
            }
        }
        let found = verified(&room, format, form);
        assert!(!found.holds(), "{format}: {found:?}");
    }
}

#[test]
fn weights_of_bf16_are_merged_within_their_rounding() {
    let room = Room::new();
    change(&room.path("base/model.safetensors"), |_, tensor| tensor.to_dtype(DType::BF16).unwrap());
    fs::write(room.path("story.txt"), STORY).unwrap();
    room.prints(&["encode", "--untrained", "c.toml", "--context", "story.txt", "--out", "adapters/one"]);
    fs::create_dir(room.path("merged")).unwrap();
    export(&room, "merged", &["--verify"]);
    let found = verified(&room, "merged", Form::Merged);
    assert!(found.largest_difference > 0.0 && found.holds(), "{found:?}");
    assert!(found.tolerance > 0.01, "{found:?}");
}

#[test]
fn a_card_says_of_what_an_export_is_made() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "adapters/one"]);
    fs::write(room.path("base/README.md"), "---\nlicense: apache-2.0\n---\n# Base\n").unwrap();
    for (format, _) in FORMATS {
        fs::create_dir(room.path(format)).unwrap();
        export(&room, format, &[]);
    }
    for folder in ["peft/one", "merged/one", "gguf-lora"] {
        let card = fs::read_to_string(room.path(folder).join("README.md")).unwrap();
        for part in
            ["license: \"apache-2.0\"", "base_model: ", "story.txt", "6 outer steps", "rank 2", "{question}"]
        {
            assert!(card.contains(part), "{folder}: {part} is missing: {card}");
        }
        let score = room.result("runs/tiny")["evaluation"]["rows"][0]["score"].as_f64().unwrap();
        assert!(card.contains(&format!("| perk | 1x | {:.1}% |", 100.0 * score)), "{card}");
    }
    assert!(names(&room.path("gguf-lora")) == ["README.md", "one"]);
}

#[test]
fn a_base_whose_tokenizer_no_gguf_file_can_hold_is_not_merged_into_one() {
    let room = room();
    let message =
        room.refuses(&["export", "--adapter", "one", "--format", "merged-gguf", "--out", "one.gguf"]);
    assert!(message.contains("tokenizer.json") && message.contains("--format merged,"), "{message}");
    assert!(!room.path("one.gguf").exists());
}

#[test]
fn a_readme_that_perk_did_not_write_stays() {
    let room = room();
    fs::write(room.path("gguf-lora/README.md"), "# mine\n").unwrap();
    let arguments = ["export", "--adapter", "one", "--format", "gguf-lora", "--out", "gguf-lora/one"];
    let output = room.perk(&arguments).output().unwrap();
    assert!(stderr(&output).contains("README.md is there already"), "{}", stderr(&output));
    printed(output);
    assert_eq!(fs::read_to_string(room.path("gguf-lora/README.md")).unwrap(), "# mine\n");
}
