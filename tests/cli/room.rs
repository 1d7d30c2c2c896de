//! A folder to run the command in, and what a run leaves there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use perk::config::CorpusConfig;
use perk::model::{Decoder, DecoderConfig, Family};
use perk::tasks::corpus::Corpus;
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perk"));
        command.current_dir(self.dir.path()).arg("meta-train").args(arguments).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs, expects success, returns what was printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs, expects `code`, returns the message, which must begin with `error: ` and come once.
    pub fn fail(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert_eq!(message.matches("error: ").count(), 1, "{message}");
        assert!(!message.contains("panicked"), "{message}");
        message
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
        serde_json::from_str(&fs::read_to_string(self.path(run).join("result.json")).unwrap()).unwrap()
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

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
