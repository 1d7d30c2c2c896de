//! `perk encode`.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use candle_core::{DType, Device};
use perk::checkpoint::Lock;
use perk::model::DecoderConfig;
use perk::model::lora::Adapter;

use super::room::{Room, STORY, message, names, printed, stderr};

const ENCODE: [&str; 3] = ["encode", "--context", "story.txt"];

fn encode(room: &Room, more: &[&str]) -> String {
    room.prints(&[&ENCODE, more].concat())
}

#[test]
fn a_context_becomes_a_folder_that_peft_reads_with_its_record() {
    let room = Room::trained();
    let text = encode(&room, &["--out", "memory"]);
    assert_eq!(
        names(&room.path("memory")),
        ["adapter_config.json", "adapter_model.safetensors", "perk.json"]
    );
    assert_eq!(text.trim_end().lines().last().unwrap(), "memory");
    for part in ["inner loss", "next token", "tokens/s", "at most", "adapter"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let config = room.json("memory/adapter_config.json");
    assert_eq!(config["use_rslora"], false);
    // alpha / √r = 2 / √2 of the configuration, written as alpha / r.
    assert!((config["lora_alpha"].as_f64().unwrap() - 8f64.sqrt()).abs() < 1e-12, "{config}");
    let record = room.json("memory/perk.json");
    assert_eq!(record["context"]["segments"], 3);
    assert_eq!(record["context"]["bytes"], STORY.len());
    assert_eq!(record["checkpoint"]["outer_steps"], 6);
    assert_eq!(record["losses"]["inner"].as_array().unwrap().len(), 3, "two steps, and after them");
    for digest in ["/key", "/base/digest", "/checkpoint/digest", "/context/digest", "/adapter/digest"] {
        let digest = record.pointer(digest).unwrap().as_str().unwrap();
        assert_eq!(digest.len(), "blake3:".len() + 64);
    }
    assert_eq!(
        names(&room.path("")),
        ["base", "c.toml", "memory", "runs", "story.txt"],
        "nothing else is left"
    );
}

#[test]
fn products_at_another_precision_make_another_adapter_which_is_asked_at_its_own() {
    let room = Room::trained();
    let at = |name: &str| {
        encode(&room, &["--out", name, "--matmul-precision", name]);
        let record = room.json(&format!("{name}/perk.json"));
        (record["key"].clone(), record["base"]["model"]["matmul_precision"].clone())
    };
    let (exact, medium) = (at("highest"), at("medium"));
    assert_ne!(exact.0, medium.0);
    assert_eq!((exact.1, medium.1), ("highest".into(), "medium".into()));
    for precision in ["highest", "medium"] {
        let answer = ["ask", "Where is Mary?", "--adapter", "medium", "--matmul-precision", precision];
        room.prints(&answer);
    }
    let refused =
        room.perk(&["encode", "--context", "story.txt", "--matmul-precision", "low"]).output().unwrap();
    assert!(stderr(&refused).contains("expected highest, high or medium"), "{}", stderr(&refused));
}

#[test]
fn progress_tells_the_loss_of_every_step() {
    let room = Room::trained();
    let output = room.perk(&ENCODE).output().unwrap();
    let progress = stderr(&output);
    for line in
        ["3 segments, 2 inner steps from runs/tiny/checkpoints/last (6 outer steps)", "step 1/2", "step 2/2"]
    {
        assert!(progress.contains(line), "{progress}");
    }
}

#[test]
fn the_same_context_is_recognised_under_any_name_and_layout_of_work() {
    let room = Room::trained();
    let first = encode(&room, &[]);
    let dir = first.trim_end().lines().last().unwrap().to_owned();
    assert!(dir.starts_with("adapters/story-"), "{dir}");
    let before = fs::metadata(room.path(&dir)).unwrap().modified().unwrap();
    let again = encode(&room, &["--micro-batch", "2", "--out", &dir]);
    assert!(again.contains("reused"), "{again}");
    fs::rename(room.path("story.txt"), room.path("other.md")).unwrap();
    let renamed = room.prints(&["encode", "--context", "other.md", "--out", &dir]);
    assert!(renamed.contains("reused"), "{renamed}");
    assert_eq!(fs::metadata(room.path(&dir)).unwrap().modified().unwrap(), before);
    let forced = room.prints(&["encode", "--context", "other.md", "--out", &dir, "--force"]);
    assert!(!forced.contains("reused"), "{forced}");
    assert_eq!(room.json(&format!("{dir}/perk.json"))["context"]["sources"][0], "other.md");
}

#[test]
fn a_damaged_adapter_is_not_reused() {
    let room = Room::trained();
    encode(&room, &["--out", "memory"]);
    let path = room.path("memory/adapter_model.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    let text = encode(&room, &["--out", "memory"]);
    assert!(!text.contains("reused"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), whole, "the same context gives the same bytes");
}

#[test]
fn another_adapter_is_replaced_only_by_force_and_other_things_never() {
    let room = Room::trained();
    encode(&room, &["--out", "memory"]);
    let changed = [&ENCODE, &["--out", "memory", "--steps", "1"][..]].concat();
    let refused = room.refuses(&changed);
    assert!(refused.contains("memory: holds another adapter") && refused.contains("--force"), "{refused}");
    room.prints(&[&changed[..], &["--force"]].concat());
    assert_eq!(room.json("memory/perk.json")["recipe"]["inner"]["steps"], 1);
    fs::create_dir(room.path("thesis")).unwrap();
    fs::write(room.path("thesis/chapter.txt"), "").unwrap();
    let refused = room.refuses(&[&ENCODE, &["--out", "thesis", "--force"][..]].concat());
    assert!(refused.contains("is no adapter of perk encode"), "{refused}");
    assert_eq!(names(&room.path("thesis")), ["chapter.txt"]);
}

#[test]
fn what_is_not_perks_stays_beside_an_adapter_that_is_replaced() {
    let room = Room::trained();
    encode(&room, &["--out", "memory"]);
    fs::write(room.path("memory/notes.txt"), "mine").unwrap();
    encode(&room, &["--out", "memory", "--steps", "1", "--force"]);
    assert_eq!(
        names(&room.path("memory")),
        ["adapter_config.json", "adapter_model.safetensors", "notes.txt", "perk.json"]
    );
    assert_eq!(fs::read_to_string(room.path("memory/notes.txt")).unwrap(), "mine");
    assert_eq!(room.json("memory/perk.json")["recipe"]["inner"]["steps"], 1);
}

#[test]
fn a_link_in_the_place_of_an_adapter_is_refused_and_stays() {
    let room = Room::trained();
    fs::create_dir(room.path("big")).unwrap();
    std::os::unix::fs::symlink("big", room.path("link")).unwrap();
    for out in ["link", "link/"] {
        for force in [&["--out", out][..], &["--out", out, "--force"]] {
            let refused = room.refuses(&[&ENCODE, force].concat());
            assert!(refused.contains("link: is a symbolic link") && refused.contains("(big)"), "{refused}");
        }
    }
    assert!(fs::symlink_metadata(room.path("link")).unwrap().is_symlink());
    assert!(names(&room.path("big")).is_empty());
    encode(&room, &["--out", "link/memory"]);
    assert_eq!(names(&room.path("big")), ["memory"]);
}

#[test]
fn a_long_name_of_a_context_makes_a_name_that_fits() {
    let room = Room::trained();
    let name = format!("{}.txt", "story".repeat(50));
    fs::rename(room.path("story.txt"), room.path(&name)).unwrap();
    room.prints(&["encode", "--context", &name]);
    assert!(names(&room.path("adapters"))[0].len() < 100);
}

#[test]
fn an_entry_of_a_record_that_is_not_known_is_refused_by_name() {
    let room = Room::trained();
    encode(&room, &["--out", "memory"]);
    let change = |path: &str| {
        let mut record = room.json(path);
        record["stranger"] = 1.into();
        fs::write(room.path(path), record.to_string()).unwrap();
    };
    change("memory/perk.json");
    let refused = room.refuses(&["ask", "--adapter", "memory", "Where is Mary?"]);
    assert!(refused.contains("perk.json:1: ") && refused.contains("`stranger`"), "{refused}");
    change("runs/tiny/checkpoints/last/state.json");
    let refused = room.fail(&["--resume", "runs/tiny"], 1);
    assert!(refused.contains("state.json:1: ") && refused.contains("`stranger`"), "{refused}");
}

#[test]
fn a_checkpoint_without_a_step_is_not_the_newest_run() {
    let room = Room::trained();
    let short = ["--config", "c.toml", "--out", "runs/newer", "--set", "inner.lr=1e30", "--set"];
    room.fail(&[&short[..], &["inner.optimizer=sgd"]].concat(), 1);
    assert_eq!(room.json("runs/newer/checkpoints/last/state.json")["step"], 0);
    encode(&room, &["--out", "memory"]);
    assert_eq!(room.json("memory/perk.json")["checkpoint"]["path"], "runs/tiny/checkpoints/last");
}

#[test]
fn the_micro_batch_changes_the_memory_needed_and_of_the_adapter_the_last_bits_alone() {
    let room = Room::trained();
    let shape = DecoderConfig::from_folder(&room.path("base")).unwrap();
    let adapter = |out: &str, segments: &str| {
        encode(&room, &["--out", out, "--micro-batch", segments]);
        Adapter::load(&room.path(out), &shape, DType::F64, &Device::Cpu).unwrap()
    };
    let (one, three) = (adapter("one", "1"), adapter("three", "3"));
    let start =
        Adapter::load(&room.path("runs/tiny/checkpoints/last"), &shape, DType::F64, &Device::Cpu).unwrap();
    let largest = |a: &Adapter, b: &Adapter| {
        let pairs = a.tensors.iter().zip(&b.tensors);
        let each = pairs
            .map(|(a, b)| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap());
        each.fold(0.0, f64::max)
    };
    assert!(largest(&one, &three) < 1e-4, "{}", largest(&one, &three));
    assert!(largest(&one, &start) > 1e-3, "the inner loop did nothing");
}

#[test]
fn files_of_several_kinds_and_standard_input_are_one_context() {
    let room = Room::trained();
    fs::write(
        room.path("more.jsonl"),
        "\"The fox washed the kite.\"\n{\"text\": \"A dog slowly counted the lamp.\"}\n",
    )
    .unwrap();
    let arguments = ["encode", "--context", "story.txt", "more.jsonl", "-", "--out", "memory"];
    let mut child = room.perk(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"The rain fell over the hills.\n").unwrap();
    printed(child.wait_with_output().unwrap());
    let context = &room.json("memory/perk.json")["context"];
    assert_eq!(context["documents"], 4);
    assert_eq!(context["sources"], serde_json::json!(["story.txt", "more.jsonl", "standard input"]));
}

#[test]
fn a_context_that_cannot_be_memorised_is_refused_and_leaves_nothing() {
    let room = Room::trained();
    for (name, bytes, expected) in [
        ("empty.txt", &b""[..], "empty.txt: is empty"),
        ("blank.md", b" \n\n ", "blank.md: is empty"),
        ("image.txt", b"\x89PNG\r\n\x1a\n\0\0", "image.txt: is a binary file (byte 8 is zero)"),
        ("latin.txt", b"Mary went.\nCaf\xe9.", "latin.txt:2: invalid UTF-8 at byte 14"),
        ("lines.jsonl", b"\"Mary went.\"\n{\"txt\": 1}\n", "lines.jsonl:2: no `text`"),
        ("short.txt", b"Mary went to the garden.", "6 tokens, fewer than one segment (24)"),
    ] {
        fs::write(room.path(name), bytes).unwrap();
        let found = room.refuses(&["encode", "--context", name, "--out", "store/memory"]);
        assert!(found.contains(expected), "{found}");
        assert!(!room.path("store").exists(), "{name}");
    }
    assert!(room.refuses(&["encode", "--context", "nowhere.txt"]).contains("nowhere.txt"));
    room.prints(&["encode", "--context", "short.txt", "--segment-tokens", "6"]);
}

#[test]
fn a_checkpoint_that_is_not_there_is_an_error_that_says_how_to_get_one() {
    let room = Room::trained();
    fs::rename(room.path("runs"), room.path("elsewhere")).unwrap();
    let missing = room.refuses(&ENCODE);
    assert!(missing.contains("perk meta-train --config configs/quickstart.toml"), "{missing}");
    let wrong = room.refuses(&[&ENCODE, &["--checkpoint", "base"][..]].concat());
    assert!(wrong.contains("base: is neither a run"), "{wrong}");
    for checkpoint in ["elsewhere/tiny", "elsewhere/tiny/checkpoints/best"] {
        encode(&room, &["--force", "--out", "memory", "--checkpoint", checkpoint]);
    }
}

#[test]
fn the_newest_run_is_the_default() {
    let room = Room::trained();
    room.succeed(&["--config", "c.toml", "--out", "runs/newer", "--set", "outer.steps=2"]);
    encode(&room, &["--out", "memory"]);
    assert_eq!(room.json("memory/perk.json")["checkpoint"]["path"], "runs/newer/checkpoints/last");
}

#[test]
fn a_checkpoint_of_another_base_is_refused() {
    let room = Room::trained();
    room.change_base();
    let refused = room.refuses(&ENCODE);
    assert!(refused.contains("was trained on another base"), "{refused}");
    let refused = room.fail(&["--resume", "runs/tiny"], 1);
    assert!(refused.contains("was trained on another base"), "{refused}");
}

#[test]
fn a_start_that_was_never_trained_can_be_encoded_from_too() {
    let room = Room::trained();
    encode(&room, &["--untrained", "c.toml", "--out", "memory"]);
    let record = room.json("memory/perk.json");
    assert!(record["checkpoint"]["path"].is_null());
    assert_eq!(record["checkpoint"]["outer_steps"], 0);
}

#[test]
fn more_steps_than_were_trained_are_taken_and_impossible_ones_refused() {
    let room = Room::trained();
    encode(&room, &["--steps", "5", "--out", "memory"]);
    assert_eq!(room.json("memory/perk.json")["losses"]["inner"].as_array().unwrap().len(), 6);
    for (option, key) in [("--steps", "inner.steps"), ("--segment-tokens", "data.segment_tokens")] {
        let output = room.perk(&[&ENCODE, &[option, "0"][..]].concat()).output().unwrap();
        assert!(message(&output, 2).contains(key));
    }
}

#[test]
fn an_adapter_that_diverges_is_not_written() {
    let room = Room::trained();
    let config = fs::read_to_string(room.path("c.toml")).unwrap();
    fs::write(room.path("wild.toml"), config.replace("lr = 0.01", "lr = 1e20")).unwrap();
    let wild = ["--untrained", "wild.toml", "--out", "memory"];
    let refused = room.refuses(&[&ENCODE, &wild[..]].concat());
    assert!(refused.contains("the adapter has diverged"), "{refused}");
    assert!(!room.path("memory").exists());
}

#[test]
fn two_processes_do_not_encode_into_one_folder_at_once() {
    let room = Room::trained();
    let lock = Lock::take(&room.path("memory")).unwrap();
    let refused = room.refuses(&[&ENCODE, &["--out", "memory"][..]].concat());
    assert!(refused.contains("memory: another process is writing here"), "{refused}");
    encode(&room, &["--out", "beside"]);
    drop(lock);
    encode(&room, &["--out", "memory"]);
}

#[test]
#[cfg(unix)]
fn a_disk_that_refuses_leaves_nothing_half_written() {
    let room = Room::trained();
    // Files beyond one block are refused, as on a full disk; the signal that goes with it is ignored.
    let script = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} encode --context story.txt --out store/memory",
        env!("CARGO_BIN_EXE_perk")
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(room.path("")).output().unwrap();
    let refused = message(&output, 1);
    assert!(refused.contains("store/memory/adapter_model.safetensors: File too large"), "{refused}");
    assert!(!room.path("store").exists());
}
