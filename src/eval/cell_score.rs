//! One cell of a benchmark's table by one method.

use serde::{Deserialize, Serialize};

use super::SupportSummary;
use crate::benchmarks::{Cell, Metric};

/// What one method scored on one cell, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellScore {
    /// `perk`, `base`, `icr` or `ft-icr`.
    pub method: String,
    /// Subtask, length and position.
    pub cell: Cell,
    /// Mean length of the contexts in tokens.
    pub context_tokens: usize,
    /// Samples asked.
    pub samples: usize,
    /// Which of the scores is the headline.
    pub metric: Metric,
    /// Mean of the headline score, 0 to 1.
    pub score: f64,
    /// Its 95% confidence interval, low and high.
    pub interval: (f64, f64),
    /// Share of exact matches, 0 to 1.
    pub exact_match: f64,
    /// Mean F1 of the words, 0 to 1.
    pub f1: f64,
    /// Share of outputs that contain an answer, 0 to 1.
    pub substring: f64,
    /// How well the facts behind the answers were recalled; `None` where the answers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<SupportSummary>,
    /// Prompts that were cut to fit the model.
    pub truncated: usize,
    /// Seconds to write a context into the memory, mean per sample.
    pub encode_secs: f64,
    /// Seconds to answer, mean per sample.
    pub ask_secs: f64,
    /// The most memory held, in bytes; `None` where it was not measured.
    pub peak_bytes: Option<u64>,
}
