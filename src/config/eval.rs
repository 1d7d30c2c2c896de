//! `[eval]`: held-out scores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Checker;
use crate::error::Fault;

/// What is scored, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Outer steps between scores at the trained length; 0 scores only at the end.
    pub every: usize,
    /// Held-out episodes of each row of the last table.
    pub episodes: usize,
    /// Held-out episodes of the scores during training.
    pub episodes_during: usize,
    /// Context lengths of the last table, in multiples of the trained one.
    pub multiples: Vec<usize>,
    /// Whether the same model is also asked without having read the context.
    pub no_adaptation: bool,
    /// Whether the base is also asked with the context in its prompt.
    pub in_context: bool,
    /// Longest answer, in tokens, the end token included.
    pub max_new_tokens: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every: 50,
            episodes: 128,
            episodes_during: 32,
            multiples: vec![1, 2, 4, 8, 16],
            no_adaptation: true,
            in_context: true,
            max_new_tokens: 16,
        }
    }
}

impl EvalConfig {
    /// Most episodes or samples of one score.
    pub const MOST_EPISODES: usize = 1 << 20;
    /// Most tokens of an answer.
    pub const MOST_NEW_TOKENS: usize = 1 << 16;

    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("eval", faults);
        check.range("every", self.every, 0, Checker::MOST);
        check.range("episodes", self.episodes, 1, Self::MOST_EPISODES);
        check.range(
            "episodes_during",
            self.episodes_during,
            usize::from(self.every > 0),
            Self::MOST_EPISODES,
        );
        check.require(!self.multiples.is_empty(), "multiples", "must hold at least one length");
        for &multiple in &self.multiples {
            check.range("multiples", multiple, 1, 1 << 16);
        }
        let rising = self.multiples.is_sorted_by(|a, b| a < b);
        check.require(rising, "multiples", "must rise, without repeats");
        check.range("max_new_tokens", self.max_new_tokens, 1, Self::MOST_NEW_TOKENS);
    }
}
