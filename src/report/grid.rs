//! Rows sorted into the grid of a table: one line for each subtask, one column for each length.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    benchmarks::{Length, Metric},
    eval::{CellScore, wilson},
    tasks::Position,
};

/// The scores of one method at one position.
pub(super) struct Grid<'a> {
    pub(super) method: &'a str,
    pub(super) position: Position,
    /// In the order of the rows.
    pub(super) subtasks: Vec<&'a str>,
    /// From short to long.
    pub(super) lengths: Vec<Option<Length>>,
    rows: Vec<&'a CellScore>,
}

/// A mean over cells, each of which counts as much as the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mean {
    pub(super) score: f64,
    /// 95%, as if all samples had been drawn from one cell.
    pub(super) interval: (f64, f64),
}

impl<'a> Grid<'a> {
    /// One grid for each method and position that rows have: methods in the order of the rows, positions in
    /// theirs.
    pub(super) fn all(rows: &'a [CellScore]) -> Vec<Self> {
        let mut grids = Vec::new();
        for method in methods(rows) {
            for position in Position::ALL {
                let is_own = |row: &&CellScore| row.method == method && row.cell.position == position;
                let own: Vec<&CellScore> = rows.iter().filter(is_own).collect();
                if !own.is_empty() {
                    grids.push(Self::of(method, position, own));
                }
            }
        }
        grids
    }

    fn of(method: &'a str, position: Position, rows: Vec<&'a CellScore>) -> Self {
        let subtasks = distinct(rows.iter().map(|row| row.cell.subtask.as_str()));
        Self { method, position, subtasks, lengths: lengths(rows.iter().copied()), rows }
    }

    /// The row of a cell, the first if there are several.
    pub(super) fn cell(&self, subtask: &str, length: Option<Length>) -> Option<&'a CellScore> {
        let found = self.rows.iter().find(|row| row.cell.subtask == subtask && row.cell.length == length);
        found.copied()
    }

    /// Mean over the subtasks at a length; `None` unless all of them have a score.
    pub(super) fn mean_at(&self, length: Option<Length>) -> Option<Mean> {
        mean(self.subtasks.iter().map(|subtask| self.cell(subtask, length)))
    }

    /// Mean over the lengths of a subtask; `None` unless all of them have a score.
    pub(super) fn mean_of(&self, subtask: &str) -> Option<Mean> {
        mean(self.lengths.iter().map(|length| self.cell(subtask, *length)))
    }

    /// Mean over all cells; `None` unless all of them have a score.
    pub(super) fn mean(&self) -> Option<Mean> {
        let cells = self
            .subtasks
            .iter()
            .flat_map(|subtask| self.lengths.iter().map(move |length| self.cell(subtask, *length)));
        mean(cells)
    }

    /// `perk, random`.
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.method, self.position.name())
    }
}

/// The rows of those subtasks and lengths that every method has at every position at which it has any, so that
/// their means compare.
pub(super) fn shared(rows: &[CellScore]) -> Vec<&CellScore> {
    let groups: BTreeSet<_> = rows.iter().map(|row| (&row.method, row.cell.position)).collect();
    let of = |row: &CellScore| (row.cell.subtask.clone(), row.cell.length);
    let mut found = BTreeMap::new();
    for row in rows {
        found.entry(of(row)).or_insert_with(BTreeSet::new).insert((&row.method, row.cell.position));
    }
    rows.iter().filter(|row| found[&of(row)].len() == groups.len()).collect()
}

/// Mean of the scores; `None` if one is missing or there is none.
pub(super) fn mean<'a>(rows: impl Iterator<Item = Option<&'a CellScore>>) -> Option<Mean> {
    let rows: Vec<&CellScore> = rows.collect::<Option<_>>()?;
    if rows.is_empty() {
        return None;
    }
    let score = rows.iter().map(|row| row.score).sum::<f64>() / rows.len() as f64;
    let samples: usize = rows.iter().map(|row| row.samples).sum();
    Some(Mean { score, interval: wilson(score * samples as f64, samples) })
}

/// The methods, in the order of the rows.
pub(super) fn methods<'a>(rows: impl IntoIterator<Item = &'a CellScore>) -> Vec<&'a str> {
    distinct(rows.into_iter().map(|row| row.method.as_str()))
}

/// The positions that rows have, in their order.
pub(super) fn positions<'a>(rows: impl IntoIterator<Item = &'a CellScore>) -> Vec<Position> {
    let found: BTreeSet<Position> = rows.into_iter().map(|row| row.cell.position).collect();
    let is_there = |position: &Position| found.contains(position);
    Position::ALL.into_iter().filter(is_there).collect()
}

/// The lengths that rows have, from short to long.
pub(super) fn lengths<'a>(rows: impl IntoIterator<Item = &'a CellScore>) -> Vec<Option<Length>> {
    let mut lengths: Vec<Option<Length>> = rows.into_iter().map(|row| row.cell.length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// A length as the head of a column; contexts whose length is not varied stand under `all`.
pub(super) fn length_name(length: Option<Length>) -> String {
    length.map_or_else(|| "all".to_owned(), |length| length.to_string())
}

/// What the headline score is called.
pub(super) fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Babilong => "accuracy",
        Metric::ExactMatch => "exact match",
        Metric::Substring => "substring match",
        Metric::StringMatchAll => "answers found",
    }
}

/// `93.0 ± 4.4`: percent, and half of the interval's width.
pub(super) fn percent(score: f64, interval: (f64, f64)) -> String {
    format!("{:.1} ± {:.1}", 100.0 * score, 50.0 * (interval.1 - interval.0))
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut kept = Vec::new();
    for name in names {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}
