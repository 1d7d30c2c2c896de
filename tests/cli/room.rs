//! A folder to run the command in, and what a run leaves there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use perk::config::CorpusConfig;
use perk::model::{Decoder, DecoderConfig, Family};
use perk::pretrain::Corpus;
use perk::text::{Tokenizer, word_level};
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = r#"
[model]
base = "base"
[lora]
rank = 2
alpha = 2.0
[inner]
steps = 2
differentiated = 1
eps_root = 1e-12
lr = 0.01
head_hidden = 4
reduction = "constant"
[outer]
steps = 6
episodes_per_step = 3
lr = 3e-3
lr_inner_lr = 1e-5
warmup_steps = 2
[data]
context_tokens = 40
segment_tokens = 24
number_offset_max = 5
shuffle_segments = true
prompt = "Question: {question} Answer: {answer}"
[eval]
every = 2
episodes = 4
episodes_during = 3
multiples = [1, 4]
max_new_tokens = 3
[run]
dir = "runs/tiny"
checkpoint_every = 2
"#;

/// Three segments of the tokenizer's words.
pub const STORY: &str = "Mary Event 0: Mary went to the garden. The old farmer repaired the wagon in spring.\n\
    John Event 0: John moved to the office. A sailor calmly described the small boat.\n\
    Mary Event 1: Mary went back to the kitchen. The mist drifted over the quiet harbour.\n";

/// A folder with a base of a few thousand random weights and a configuration.
pub struct Room {
    dir: TempDir,
}

impl Room {
    pub fn new() -> Self {
        let room = Self { dir: tempfile::tempdir().unwrap() };
        let base = room.path("base");
        word_level::save(&base, Corpus::new(CorpusConfig::default(), 0).unwrap().lexicon_texts()).unwrap();
        let tokenizer = Tokenizer::from_folder(&base, None).unwrap();
        let shape = DecoderConfig {
            family: Family::Qwen2,
            vocab_size: tokenizer.vocab_size(),
            hidden_size: 16,
            intermediate_size: 24,
            num_layers: 1,
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 8,
            max_positions: 128,
            rms_norm_eps: 1e-6,
            rope_theta: 1e4,
            rope_scaling: None,
            tied: true,
        };
        let decoder = Decoder::random(&shape, 1, DType::F32, DType::F32, &Device::Cpu).unwrap();
        decoder.save(&base, tokenizer.end_id()).unwrap();
        fs::write(room.path("c.toml"), CONFIG).unwrap();
        room
    }

    /// Puts a base of other weights in the place of the old one.
    pub fn change_base(&self) {
        let base = self.path("base");
        let shape = DecoderConfig::from_folder(&base).unwrap();
        let decoder = Decoder::random(&shape, 2, DType::F32, DType::F32, &Device::Cpu).unwrap();
        decoder.save(&base, 1).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A room with a run of a few outer steps in `runs/tiny`, and a story to memorise.
    pub fn trained() -> Self {
        let room = Self::new();
        room.succeed(&["--config", "c.toml", "--set", "eval.multiples=[1]", "--set", "eval.episodes=1"]);
        fs::write(room.path("story.txt"), STORY).unwrap();
        room
    }

    /// `perk` with any arguments.
    pub fn perk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perk"));
        command.current_dir(self.dir.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// As [`perk`](Self::perk), started in another folder, where nothing of the hub can be reached.
    pub fn perk_in(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = self.perk(arguments);
        command.current_dir(folder).env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", self.path("hub"));
        command
    }

    /// Changes a JSON file.
    pub fn change_json(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut value = self.json(path);
        change(&mut value);
        fs::write(self.path(path), value.to_string()).unwrap();
    }

    /// Runs `perk`, expects success, returns what was printed.
    pub fn prints(&self, arguments: &[&str]) -> String {
        printed(self.perk(arguments).output().unwrap())
    }

    /// Runs `perk`, expects exit code 1 and one error, returns the message.
    pub fn refuses(&self, arguments: &[&str]) -> String {
        message(&self.perk(arguments).output().unwrap(), 1)
    }

    /// `perk meta-train` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.perk(&[&["meta-train"], arguments].concat())
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs, expects success, returns what was printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        printed(self.run(arguments))
    }

    /// Runs, expects `code`, returns the message, which must begin with `error: ` and come once.
    pub fn fail(&self, arguments: &[&str], code: i32) -> String {
        message(&self.run(arguments), code)
    }

    /// A JSON file.
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(path)).unwrap()).unwrap()
    }

    /// The metrics of a run without its times.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap();
        let parse = |line: &str| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            record.as_object_mut().unwrap().remove("secs");
            record
        };
        text.lines().map(parse).collect()
    }

    pub fn result(&self, run: &str) -> Value {
        self.json(&format!("{run}/result.json"))
    }

    /// Starts a run that would take long and sends it `signal` once it has done a few steps.
    pub fn start_and_signal(&self, arguments: &[&str], run: &str, signal: &str) -> Output {
        let child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let metrics = self.path(run).join("metrics.jsonl");
        let start = Instant::now();
        while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
            assert!(start.elapsed() < Duration::from_secs(60), "no step in a minute");
            std::thread::sleep(Duration::from_millis(2));
        }
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        child.wait_with_output().unwrap()
    }
}

/// What a command printed that must have succeeded.
pub fn printed(output: Output) -> String {
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The one error of a command that must have failed with `code`.
pub fn message(output: &Output, code: i32) -> String {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
