//! `perk eval compare`: two evaluations of the same questions.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    benchmarks::Cell,
    error::{Error, Result},
    eval::{Paired, SampleRecord},
    report::{ComparedCell, Comparison, Evaluation},
};

use super::folder::records;

/// The records of an evaluation by method and cell, and there by episode and question.
type ByCell = BTreeMap<(&'static str, Cell), BTreeMap<(usize, usize), SampleRecord>>;

/// Compares the evaluations of two folders, question by question.
///
/// # Errors
/// A folder that holds no finished evaluation; two benchmarks, or two scores; other questions in the one than in the
/// other; no cell in common.
pub fn compare(first: &Path, second: &Path) -> Result<Comparison> {
    let [a, b] = [first, second].map(|folder| Evaluation::read_json(&folder.join("results.json")));
    let (a, b) = (a?, b?);
    if (&a.benchmark, a.metric) != (&b.benchmark, b.metric) {
        let reason = format!(
            "is an evaluation of {}, and {} one of {}: compare two of the same benchmark",
            b.benchmark,
            first.display(),
            a.benchmark
        );
        return Err(Error::file(second, reason));
    }
    let (mut firsts, mut seconds) = (by_cell(first)?, by_cell(second)?);
    let renamed = one_method_each(&firsts, &seconds);
    let (mut rows, mut all, mut unpaired) = (Vec::new(), Vec::new(), 0);
    for ((method, cell), own) in std::mem::take(&mut firsts) {
        let other = renamed.map_or(method, |(_, other)| other);
        let Some(others) = seconds.remove(&(other, cell.clone())) else {
            unpaired += own.len();
            continue;
        };
        let scores = paired(second, &own, &others, |record| record.scores.headline(a.metric))?;
        unpaired += own.len() + others.len() - 2 * scores.len();
        all.extend_from_slice(&scores);
        let methods = (method.to_owned(), other.to_owned());
        rows.push(ComparedCell { methods, cell, scores: Paired::of(&scores) });
    }
    unpaired += seconds.values().map(BTreeMap::len).sum::<usize>();
    if all.is_empty() {
        let reason = format!("has no method and cell in common with {}", first.display());
        return Err(Error::file(second, reason));
    }
    Ok(Comparison { metric: a.metric, rows, total: Paired::of(&all), unpaired })
}

fn by_cell(folder: &Path) -> Result<ByCell> {
    let mut found = ByCell::new();
    for record in records(folder)? {
        let cell = found.entry((record.method.name(), record.cell.clone())).or_default();
        cell.insert((record.index, record.question_index), record);
    }
    Ok(found)
}

/// The methods of two evaluations that have one each; `None` where they have several, or the same.
fn one_method_each(a: &ByCell, b: &ByCell) -> Option<(&'static str, &'static str)> {
    let methods = |cells: &ByCell| cells.keys().map(|(method, _)| *method).collect::<BTreeSet<_>>();
    let (a, b) = (methods(a), methods(b));
    match (a.len(), b.len(), a.first(), b.first()) {
        (1, 1, Some(a), Some(b)) if a != b => Some((a, b)),
        _ => None,
    }
}

/// The scores of the questions that both have.
fn paired(
    folder: &Path,
    a: &BTreeMap<(usize, usize), SampleRecord>,
    b: &BTreeMap<(usize, usize), SampleRecord>,
    score: impl Fn(&SampleRecord) -> f64,
) -> Result<Vec<(f64, f64)>> {
    let mut scores = Vec::new();
    for (place, own) in a {
        let Some(other) = b.get(place) else { continue };
        if (&own.question, &own.answers) != (&other.question, &other.answers) {
            let reason = format!(
                "asks another question at {} ({} there): the two have other data, or another seed",
                other.name, own.name
            );
            return Err(Error::file(folder, reason));
        }
        scores.push((score(own), score(other)));
    }
    Ok(scores)
}
