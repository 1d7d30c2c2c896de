//! Commands on a base that is one GGUF file.

use std::fs;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};
use perk::commands::export::Form;
use perk::commands::verify_export::verify;
use perk::model::{Decoder, DecoderConfig, Family, HubSettings};
use perk::store::StoredAdapter;

use super::gguf_file::GgufBase;
use super::room::{Room, STORY, message, names, printed, stderr};

/// A room with `base.gguf`, whose tokens are bytes, and an adapter `adapters/one` on it, which no training has seen.
fn encoded(dtype: GgmlDType) -> Room {
    let room = Room::new();
    let shape = DecoderConfig {
        family: Family::Llama,
        vocab_size: 263,
        hidden_size: 32,
        intermediate_size: 64,
        num_layers: 1,
        num_heads: 2,
        num_kv_heads: 1,
        head_dim: 16,
        max_positions: 512,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: None,
        tied: true,
    };
    let decoder = Decoder::random(&shape, 1, DType::F32, DType::F32, &Device::Cpu).unwrap();
    GgufBase::new(&decoder, |_| dtype).write(&room.path("base.gguf"));
    fs::write(room.path("story.txt"), STORY).unwrap();
    room.prints(&encode("base.gguf", "adapters/one"));
    room
}

fn encode<'a>(base: &'a str, out: &'a str) -> [&'a str; 11] {
    let start = ["encode", "--untrained", "c.toml", "--base", base, "--set", "data.segment_tokens=150"];
    [&start[..], &["--context", "story.txt", "--out", out]].concat().try_into().unwrap()
}

fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["ask", "--adapter", "one", "--max-tokens", "4", "--json"], more, &["Where is Mary?"]].concat()
}

#[test]
fn an_adapter_belongs_to_the_file_that_it_was_encoded_on_wherever_that_is() {
    let room = encoded(GgmlDType::Q8_0);
    let base = room.json("adapters/one/perk.json")["base"].clone();
    let path = base["model"]["base"].as_str().unwrap();
    assert!(path.starts_with('/') && path.ends_with("/base.gguf"), "{path}");
    let answer = |more: &[&str]| {
        let reply: serde_json::Value = serde_json::from_str(&room.prints(&ask(more))).unwrap();
        reply["token_ids"].clone()
    };
    let first = answer(&[]);
    assert!(room.prints(&["adapters", "verify"]).contains("one: ok"));
    fs::rename(room.path("base.gguf"), room.path("moved.gguf")).unwrap();
    let gone = room.refuses(&ask(&[]));
    assert!(gone.contains("base.gguf: does not exist") && gone.contains("--base"), "{gone}");
    assert_eq!(answer(&["--base", "moved.gguf"]), first);
    // A single bit of another weight.
    let mut bytes = fs::read(room.path("moved.gguf")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(room.path("base.gguf"), bytes).unwrap();
    let other = room.refuses(&ask(&[]));
    assert!(other.contains("belongs to another base"), "{other}");
}

#[test]
fn every_export_works_from_a_file_and_a_merged_model_is_a_folder_like_any_other() {
    let room = encoded(GgmlDType::Q4_0);
    let export = |format: &str, out: &str| {
        room.perk(&["export", "--adapter", "one", "--format", format, "--out", out]).output().unwrap()
    };
    let peft = export("peft", "peft");
    assert!(stderr(&peft).contains("gguf_file=FILE"), "{}", stderr(&peft));
    assert_eq!(names(&room.path("peft")), ["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    let named = room.json("peft/adapter_config.json")["base_model_name_or_path"].clone();
    assert!(named.as_str().unwrap().ends_with("base.gguf"), "{named}");
    fs::create_dir(room.path("file")).unwrap();
    for (format, out) in
        [("merged", "merged"), ("gguf-lora", "one.gguf"), ("merged-gguf", "file/merged.gguf")]
    {
        assert_eq!(stderr(&export(format, out)), "");
    }
    let files = ["README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(names(&room.path("merged")), [&files[..], &["tokenizer_config.json"]].concat());
    assert_eq!(room.json("merged/config.json")["eos_token_id"], serde_json::json!([262]));
    // A merged model reads the story as the base does, and so has the losses that its adapter would have.
    let losses = |name: &str| {
        let record = room.json(&format!("adapters/{name}/perk.json"));
        let losses = record["losses"]["cross_entropy"].as_array().unwrap().clone();
        losses.iter().map(|loss| loss.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let last = losses("one");
    for (merged, adapter, rounding) in [("merged", "two", 1e-4), ("file/merged.gguf", "three", 1e-3)] {
        room.prints(&encode(merged, &format!("adapters/{adapter}")));
        let next = losses(adapter);
        assert!((last.last().unwrap() - next[0]).abs() < rounding, "{last:?} {next:?}");
        assert!((last[0] - next[0]).abs() > 2.0 * rounding, "the adapter changed nothing");
    }
}

#[test]
fn a_merged_file_is_read_back_and_one_that_computes_or_reads_something_else_is_found_out() {
    let room = encoded(GgmlDType::Q8_0);
    let printed = room.prints(&[
        "export",
        "--adapter",
        "one",
        "--format",
        "merged-gguf",
        "--out",
        "merged.gguf",
        "--verify",
    ]);
    assert!(printed.contains("logits of 3 prompts") && printed.ends_with("merged.gguf\n"), "{printed}");
    assert!(fs::read_to_string(room.path("README.md")).unwrap().contains("in the form of llama.cpp"));
    let verified = |name: &str| {
        let stored = StoredAdapter::open(&room.path("adapters/one")).unwrap();
        verify(&stored, Form::MergedGguf, &room.path(name), None, &HubSettings::default())
    };
    assert!(verified("merged.gguf").unwrap().holds());
    // The base computes something else, and a file with another tokenizer reads something else.
    assert!(!verified("base.gguf").unwrap().holds());
    let mut bytes = fs::read(room.path("merged.gguf")).unwrap();
    // The tokens `a` and `b` change places.
    let [a, b] = [b'a', b'b'].map(|letter| {
        let token = [1, 0, 0, 0, 0, 0, 0, 0, letter];
        bytes.windows(token.len()).position(|found| found == token).unwrap() + 8
    });
    bytes.swap(a, b);
    fs::write(room.path("other.gguf"), bytes).unwrap();
    let fault = verified("other.gguf").unwrap_err().to_string();
    assert!(fault.contains("other.gguf: its tokenizer makes other tokens"), "{fault}");
}

#[test]
fn a_run_on_a_file_is_resumed_on_it() {
    let room = encoded(GgmlDType::Q8_0);
    let set = |values: &[&'static str]| values.iter().flat_map(|value| ["--set", *value]).collect::<Vec<_>>();
    let short = set(&[
        "data.segment_tokens=150",
        "data.context_tokens=200",
        "eval.multiples=[1]",
        "outer.warmup_steps=0",
    ]);
    let train = [&["--config", "c.toml", "--base", "base.gguf", "--out", "run"], &short[..]].concat();
    room.succeed(&[&train[..], &["--set", "outer.steps=1", "--set", "eval.every=0"]].concat());
    room.succeed(&["--resume", "run", "--set", "eval.episodes=2"]);
    let planned = printed(room.run(&[&train[..], &["--dry-run"]].concat()));
    assert!(planned.contains("base.gguf"), "{planned}");
    fs::remove_file(room.path("base.gguf")).unwrap();
    let gone = message(&room.run(&["--resume", "run", "--set", "eval.episodes=1"]), 1);
    assert!(gone.contains("base.gguf: does not exist"), "{gone}");
}
