//! What is kept of every question that a model was asked, and the score of a cell by it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::benchmarks::{Cell, Metric};

use super::{CellScore, Method, Scores, SupportScore, SupportSummary, wilson};

/// More different answers than this are no choice that one could guess from.
const MOST_CHOICES: usize = 20;

/// A question, its answer, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleRecord {
    /// How the model got at the context.
    pub method: Method,
    /// Which part of the benchmark.
    pub cell: Cell,
    /// The episode's number in its cell.
    pub index: usize,
    /// Which of the episode's questions, from 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub question_index: usize,
    /// How many questions the episode has.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub questions: usize,
    /// Its name.
    pub name: String,
    /// Tokens of the context in segments, prefixes included.
    pub context_tokens: usize,
    /// Tokens of the context that had no room in the prompt.
    pub dropped_tokens: usize,
    /// The question.
    pub question: String,
    /// The answers that count as right.
    pub answers: Vec<String>,
    /// The facts that decide it, in the order of targets; empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// What the model wrote.
    pub output: String,
    /// What of it is the answer, where it is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concluded: Option<String>,
    /// How well it recalled the facts; `None` where they are not known, or not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<SupportScore>,
    /// Whether it ended the answer itself, before the limit.
    pub ended: bool,
    /// How right it is.
    pub scores: Scores,
    /// Seconds that the inner loop took.
    pub encode_secs: f64,
    /// Seconds from the question to the end of the answer.
    pub ask_secs: f64,
}

fn is_default(index: &usize) -> bool {
    *index == 0
}

fn one() -> usize {
    1
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

impl SampleRecord {
    /// The answer, without the facts behind it.
    pub fn answer(&self) -> &str {
        self.concluded.as_ref().unwrap_or(&self.output)
    }
}

/// The score of a cell by a method, from its records; `peak_bytes` is what the process held at most.
pub fn cell_score(
    method: Method,
    cell: &Cell,
    metric: Metric,
    records: &[SampleRecord],
    peak_bytes: Option<u64>,
) -> CellScore {
    let samples = records.len();
    let is_right = |record: &SampleRecord| record.scores.headline(metric) == 1.0;
    let supports = records.iter().filter_map(|record| Some((record.support?, is_right(record))));
    let mean =
        |value: &dyn Fn(&SampleRecord) -> f64| records.iter().map(value).sum::<f64>() / samples.max(1) as f64;
    let score = mean(&|record| record.scores.headline(metric));
    CellScore {
        method: method.name().to_owned(),
        cell: cell.clone(),
        context_tokens: mean(&|record| record.context_tokens as f64).round() as usize,
        samples,
        metric,
        score,
        interval: wilson(score * samples as f64, samples),
        exact_match: mean(&|record| f64::from(u8::from(record.scores.exact_match))),
        f1: mean(&|record| record.scores.f1),
        substring: mean(&|record| f64::from(u8::from(record.scores.substring))),
        support: SupportSummary::of(supports),
        truncated: records.iter().filter(|record| record.dropped_tokens > 0).count(),
        encode_secs: mean(&|record| record.encode_secs),
        ask_secs: mean(&|record| record.ask_secs),
        peak_bytes,
    }
}

/// What guessing would score: one over the number of different answers, mean over the subtasks, 0 to 1; `None` where
/// they are too many to guess.
///
/// With a metric that wants all answers at once there are none to choose among.
pub fn chance(metric: Metric, records: &[SampleRecord]) -> Option<f64> {
    if metric == Metric::StringMatchAll {
        return None;
    }
    let mut answers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in records {
        let own = answers.entry(&record.cell.subtask).or_default();
        own.extend(record.answers.first().map(String::as_str));
    }
    let choices: Vec<usize> = answers.values().map(BTreeSet::len).collect();
    let possible = !choices.is_empty() && choices.iter().all(|count| (1..=MOST_CHOICES).contains(count));
    possible.then(|| choices.iter().map(|&count| 1.0 / count as f64).sum::<f64>() / choices.len() as f64)
}
