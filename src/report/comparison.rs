//! Two evaluations side by side.

use serde::{Deserialize, Serialize};

use crate::{
    benchmarks::{Cell, Metric},
    eval::Paired,
};

use super::{
    grid::{length_name, metric_name},
    table::align,
};

/// Two evaluations of the same questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The score that is compared.
    pub metric: Metric,
    /// One for each cell and method that both have.
    pub rows: Vec<ComparedCell>,
    /// All questions of all rows together.
    pub total: Paired,
    /// Questions that only one of the two has.
    pub unpaired: usize,
}

/// A cell in two evaluations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparedCell {
    /// The methods: one, or two where the evaluations have one each.
    pub methods: (String, String),
    /// Subtask, length and position.
    pub cell: Cell,
    /// Its scores.
    pub scores: Paired,
}

impl Comparison {
    /// A line for each row and one for all of them, in plain text.
    pub fn table(&self) -> String {
        let head =
            ["method", "cell", "questions", "A", "B", "B - A", "95% interval", "A only", "B only", "p"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let (a, b) = &row.methods;
            let method = if a == b { a.clone() } else { format!("{a}, {b}") };
            let cell = &row.cell;
            let name = format!("{} {} {}", cell.subtask, length_name(cell.length), cell.position.name());
            lines.push(line(method, name, &row.scores));
        }
        if self.rows.len() > 1 {
            lines.push(line("all".to_owned(), String::new(), &self.total));
        }
        let unpaired = match self.unpaired {
            0 => String::new(),
            count => format!("; {count} questions that only one of them has are left out"),
        };
        let metric = metric_name(self.metric);
        format!("{}\n{metric} in percent; p of the exact sign test{unpaired}\n", align(&lines))
    }
}

fn line(method: String, cell: String, scores: &Paired) -> Vec<String> {
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let (low, high) = scores.interval;
    vec![
        method,
        cell,
        scores.pairs.to_string(),
        percent(scores.first),
        percent(scores.second),
        format!("{:+.1}", 100.0 * scores.difference()),
        format!("{:+.1} to {:+.1}", 100.0 * low, 100.0 * high),
        scores.first_better.to_string(),
        scores.second_better.to_string(),
        format!("{:.3}", scores.p_value),
    ]
}
