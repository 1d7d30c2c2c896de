//! `[corpus]`: generated text for pretraining a tiny base.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checker, WorldConfig};
use crate::error::Fault;
use crate::text::Template;

/// The block `[corpus]`: generated text for pretraining a tiny base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CorpusConfig {
    /// Part of the documents that repeat their own sentences; the others are a context, a question and its
    /// answer.
    pub repeat_fraction: f64,
    /// Part of the stories with two supporting facts.
    pub two_hop_fraction: f64,
    /// Most questions asked about one story, one after another.
    pub questions: usize,
    /// Part of the stories whose facts begin with `Mary Event 2:`.
    pub event_fraction: f64,
    /// Part of the documents that are student records, a question about them and its answer. The other parts
    /// are those of the remaining documents.
    pub records_fraction: f64,
    /// Part of the documents cut into pieces that begin with `doc_12:`, numbered from a random start.
    pub numbered_fraction: f64,
    /// Numbers in `doc_12:` lie below this.
    pub numbers: usize,
    /// Tokens of background in a context: one of these.
    pub background_tokens: Vec<usize>,
    /// The world of its stories.
    #[serde(flatten)]
    pub world: WorldConfig,
    /// The query, as in `[data]`.
    pub prompt: String,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self {
            repeat_fraction: 0.3,
            questions: 1,
            two_hop_fraction: 0.3,
            event_fraction: 0.7,
            records_fraction: 0.0,
            numbered_fraction: 0.5,
            numbers: 100,
            background_tokens: vec![0, 40, 60, 90],
            world: WorldConfig::default(),
            prompt: "Question: {question} Answer: {answer}".into(),
        }
    }
}

impl CorpusConfig {
    /// Adds every fault of this block to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("corpus", faults);
        for (key, value) in [
            ("repeat_fraction", self.repeat_fraction),
            ("two_hop_fraction", self.two_hop_fraction),
            ("event_fraction", self.event_fraction),
            ("records_fraction", self.records_fraction),
            ("numbered_fraction", self.numbered_fraction),
        ] {
            check.fraction(key, value);
        }
        check.range("numbers", self.numbers, 1, 1_000_000);
        check.range("questions", self.questions, 1, WorldConfig::MANY);
        check.require(
            !self.background_tokens.is_empty(),
            "background_tokens",
            "must hold one number or more",
        );
        for &tokens in &self.background_tokens {
            check.range("background_tokens", tokens, 0, 1 << 16);
        }
        if let Err(reason) = Template::parse(&self.prompt) {
            check.require(false, "prompt", reason);
        }
        let fewest_facts = if self.two_hop_fraction > 0.0 { 2 } else { 1 };
        self.world.validate(fewest_facts, &mut check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_have_no_faults_and_impossible_values_are_named() {
        let mut faults = Vec::new();
        CorpusConfig::default().validate(&mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        let world = WorldConfig { min_facts: 1, ..WorldConfig::default() };
        let config = CorpusConfig {
            repeat_fraction: 1.5,
            records_fraction: -0.1,
            numbers: 0,
            world,
            ..CorpusConfig::default()
        };
        config.validate(&mut faults);
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            ["repeat_fraction", "records_fraction", "numbers", "min_facts"].map(|k| format!("corpus.{k}"))
        );
    }
}
