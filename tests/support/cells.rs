//! Single questions of a benchmark's cells.

#![allow(clippy::unwrap_used, reason = "a failed helper fails the test")]
#![allow(dead_code, reason = "not every test uses all of it")]

use perk::benchmarks::{Benchmark, Cell};

/// An episode's only question, with its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub name: String,
    pub documents: Vec<String>,
    pub question: String,
    pub answers: Vec<String>,
    pub support: Vec<String>,
}

/// Number of episodes of a cell; `None` where they never end.
pub fn count(benchmark: &dyn Benchmark, cell: &Cell) -> perk::Result<Option<u64>> {
    Ok(benchmark.open(cell)?.len())
}

/// The episode of this index, which has one question.
pub fn ask(benchmark: &dyn Benchmark, cell: &Cell, index: u64) -> perk::Result<Sample> {
    let mut episode = benchmark.open(cell)?.episode(index)?;
    let qa = episode.qa.pop().unwrap();
    assert!(episode.qa.is_empty(), "{}: several questions", episode.name);
    let (name, documents) = (episode.name, episode.documents);
    Ok(Sample { name, documents, question: qa.question, answers: qa.answers, support: qa.support })
}
