//! The whole configuration of a meta-training run.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Checker, DataConfig, EvalConfig, InnerConfig, LoraConfig, ModelConfig, OuterConfig, Raw, RunConfig,
    Schedule, Task,
};
use crate::error::{Error, Fault, Result};

/// Every block of a meta-training run, resolved: defaults, then the file, then overrides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
pub struct Config {
    /// The frozen base.
    pub model: ModelConfig,
    /// The adapter.
    pub lora: LoraConfig,
    /// The inner loop.
    pub inner: InnerConfig,
    /// The outer loop.
    pub outer: OuterConfig,
    /// The episodes.
    pub data: DataConfig,
    /// Held-out scores.
    pub eval: EvalConfig,
    /// Folder, seed, device.
    pub run: RunConfig,
}

impl Config {
    /// Reads `path` with `overrides` (`block.key=value`); fails with the list of all faults.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        Self::resolve(Raw::read(path, overrides)?)
    }

    /// As [`Config::load`], from text; `path` is only for messages.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self> {
        Self::resolve(Raw::parse(path, text, &[])?)
    }

    /// As [`Config::from_toml`], from the text in a checkpoint. One of an older version says nothing of a begin
    /// token, and was trained without.
    pub fn from_checkpoint(path: &Path, text: &str) -> Result<Self> {
        let mut config = Self::from_toml(path, text)?;
        config.model.begin_token.get_or_insert_default();
        Ok(config)
    }

    fn resolve(mut raw: Raw) -> Result<Self> {
        let config = Self {
            model: raw.block("model"),
            lora: raw.block("lora"),
            inner: raw.block("inner"),
            outer: raw.block("outer"),
            data: raw.block("data"),
            eval: raw.block("eval"),
            run: raw.block("run"),
        };
        config.validate(&mut raw.faults);
        raw.finish()?;
        Ok(config)
    }

    /// Adds what is wrong with the values, block by block, to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        self.model.validate(faults);
        self.lora.validate(faults);
        self.inner.validate(faults);
        self.outer.validate(faults);
        self.data.validate(faults);
        self.eval.validate(faults);
        self.run.validate(faults);
        let fixed_length = self.data.task == Task::Files && self.eval.multiples != [1];
        let reason = "must be [1] with data.task = \"files\", whose contexts cannot be made longer";
        Checker::new("eval", faults).require(!fixed_length, "multiples", reason);
    }

    /// The resolved configuration as TOML; reading it back gives the same configuration.
    ///
    /// # Errors
    /// A value that TOML cannot hold; none that has passed [`Config::validate`].
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|fault| Error::Invalid(format!("the configuration cannot be written: {fault}")))
    }

    /// Keys whose values differ from `saved` in a way that changes the course of training, each as
    /// `key: now … , saved …`.
    ///
    /// Where results are put, how often they are scored and how work is laid out may differ.
    pub fn differences(&self, saved: &Self) -> Vec<String> {
        let (now, then) = (self.flat(), saved.flat());
        let same_schedule = self.outer.schedule == Schedule::Constant;
        let may_differ = |key: &str| {
            let [block, name] = [key.split('.').next().unwrap_or(key), key];
            let free = ["outer.parallel_episodes", "inner.activations", "model.offline"].contains(&name);
            let placed = block == "run" && name != "run.seed";
            block == "eval" || placed || free || (name == "outer.steps" && same_schedule)
        };
        now.iter()
            .zip(&then)
            .filter(|((key, value), (_, old))| value != old && !may_differ(key))
            .map(|((key, value), (_, old))| format!("{key}: now {value}, saved {old}"))
            .collect()
    }

    /// Every `block.key` with its value, in a fixed order.
    fn flat(&self) -> Vec<(String, Value)> {
        let Ok(Value::Object(blocks)) = serde_json::to_value(self) else { return Vec::new() };
        let entries = blocks.into_iter().flat_map(|(block, fields)| {
            let fields = if let Value::Object(fields) = fields { fields } else { serde_json::Map::new() };
            fields.into_iter().map(move |(key, value)| (format!("{block}.{key}"), value))
        });
        entries.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[model]\nbase = 'b'\n";

    fn resolve(text: &str, overrides: &[&str]) -> Result<Config> {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Config::resolve(Raw::parse(Path::new("c.toml"), text, &overrides)?)
    }

    fn faults(text: &str, overrides: &[&str]) -> Vec<(String, String)> {
        match resolve(text, overrides) {
            Err(Error::Config { faults, .. }) => faults.into_iter().map(|f| (f.key, f.reason)).collect(),
            other => panic!("expected faults, got {other:?}"),
        }
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_right_one() {
        let found = faults(&format!("{MINIMAL}[inner]\ndiferentiated = 2\n"), &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "inner.diferentiated");
        assert!(found[0].1.contains("did you mean `differentiated`"), "{}", found[0].1);
    }

    #[test]
    fn a_key_in_the_wrong_block_is_sent_to_its_own() {
        let found = faults(&format!("{MINIMAL}[inner]\nrank = 2\n"), &[]);
        assert!(found[0].1.contains("did you mean `lora.rank`"), "{}", found[0].1);
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let text = "extra = 1\n[lora]\nrank = 'many'\ntargets = ['x_proj']\n[inner]\nsteps = 2\ndifferentiated = 3\n\
                    beta1 = 1.5\n[iner]\n[run]\ndevice = 'tpu'\n";
        let found = faults(text, &["outer.stepz=3", "nonsense"]);
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        for key in [
            "model.base",
            "lora.rank",
            "lora.targets",
            "inner.differentiated",
            "inner.beta1",
            "iner",
            "extra",
            "run.device",
            "outer.stepz",
            "--set nonsense",
        ] {
            assert!(keys.contains(&key), "{key} is missing in {keys:?}");
        }
        assert_eq!(keys.len(), 10, "{keys:?}");
    }

    #[test]
    fn an_override_wins_over_the_file_and_may_be_bare_text() {
        let text = format!("{MINIMAL}[lora]\nrank = 4\nlayers = 2\n");
        let config =
            resolve(&text, &["lora.rank=8", "lora.layers=all", "run.dir=runs/a b", "eval.multiples=[1, 3]"]);
        let config = config.unwrap();
        assert_eq!(config.lora.rank, 8);
        assert_eq!(config.lora.layers, super::super::Layers::All);
        assert_eq!(config.run.dir, Path::new("runs/a b"));
        assert_eq!(config.eval.multiples, [1, 3]);
    }

    #[test]
    fn the_written_configuration_reads_back_as_itself() {
        let overrides = ["inner.eps=1e-12", "lora.layers=3", "model.revision=v1", "outer.start_from=a/b"];
        let config = resolve(MINIMAL, &overrides).unwrap();
        assert_eq!(resolve(&config.to_toml().unwrap(), &[]).unwrap(), config);
    }

    #[test]
    fn a_resumed_run_may_change_its_evaluation_but_not_its_training() {
        let saved = resolve(MINIMAL, &[]).unwrap();
        let now = resolve(MINIMAL, &["eval.every=3", "run.dir=x", "outer.parallel_episodes=7"]).unwrap();
        assert_eq!(now.differences(&saved), Vec::<String>::new());
        let now = resolve(MINIMAL, &["inner.lr=0.5", "run.seed=3", "outer.steps=5", "outer.warmup_steps=1"])
            .unwrap();
        let found = now.differences(&saved).join("\n");
        for key in ["inner.lr", "run.seed", "outer.steps", "outer.warmup_steps"] {
            assert!(found.contains(key), "{found}");
        }
        let chat = resolve(MINIMAL, &["data.chat_template=a {message}"]).unwrap();
        for (now, saved, expected) in [
            (&chat, &saved, "data.chat_template: now \"a {message}\", saved null"),
            (&saved, &chat, "data.chat_template: now null, saved \"a {message}\""),
        ] {
            assert_eq!(now.differences(saved), [expected]);
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_refused() {
        let found = faults(&format!("{MINIMAL}[inner]\nlr = inf\neps = nan\n"), &[]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn broken_toml_is_reported_with_its_line() {
        let message = resolve("[model\n", &[]).unwrap_err().to_string();
        assert!(message.contains("line 1"), "{message}");
    }
}
