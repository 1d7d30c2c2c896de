//! Rows for tests.

use crate::{
    benchmarks::{Cell, Length, Metric},
    eval::{CellScore, SupportSummary, wilson},
    tasks::Position,
};

use super::Evaluation;

/// A row of 100 samples of which `right` are right, asked at a random position.
pub(super) fn row(method: &str, subtask: &str, length: Option<Length>, right: usize) -> CellScore {
    let context_tokens = match length {
        Some(Length::Tokens(tokens)) => tokens.max(90),
        Some(Length::Multiple(multiple)) => 80 * multiple,
        None => 1_234,
    };
    CellScore {
        method: method.to_owned(),
        cell: Cell { subtask: subtask.to_owned(), length, position: Position::Random },
        context_tokens,
        samples: 100,
        metric: Metric::Babilong,
        score: right as f64 / 100.0,
        interval: wilson(right as f64, 100),
        exact_match: 0.25,
        f1: 0.5,
        substring: 0.75,
        support: None,
        truncated: 1,
        encode_secs: 2.0,
        ask_secs: 0.125,
        peak_bytes: Some(1_500_000_000),
    }
}

/// The row with what its 100 answers recalled.
pub(super) fn with_support(row: CellScore) -> CellScore {
    let support = SupportSummary {
        samples: 100,
        precision: 0.95,
        recall: 0.9,
        f1: 0.92,
        right_with_support: 0.88,
        malformed: 1,
        first_faults: vec![3, 0, 7],
        with_more_facts: 1,
        answer_faults: 2,
    };
    CellScore { support: Some(support), ..row }
}

/// So many thousand tokens.
pub(super) fn kilo(tokens: usize) -> Option<Length> {
    Some(Length::Tokens(1_000 * tokens))
}

/// An evaluation of these rows.
pub(super) fn evaluation(rows: Vec<CellScore>) -> Evaluation {
    Evaluation {
        benchmark: "babilong".to_owned(),
        metric: Metric::Babilong,
        seed: 7,
        chance: Some(1.0 / 6.0),
        rows,
        break_even: false,
        version: "0.1.0".to_owned(),
    }
}
