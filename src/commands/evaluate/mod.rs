//! Evaluation: a benchmark's questions, asked by several methods, journalled, scored and written down.

mod folder;
mod models;
mod source;
mod written;

pub use folder::EvalFolder;
pub use models::{Contestants, Models};
pub use source::{Name, Source};
pub use written::{notes, repeated, write};

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    error::{Error, Result},
    eval::{CellScore, Method, Reply, SampleRecord, cell_score, scores},
    report::peak_bytes,
    tasks::{
        Episode, Qa, Split,
        benchmark::{Benchmark, Cell, Length, Position, Sample},
    },
};

use super::{Event, Observer};

/// More different answers than this are no choice that one could guess from.
const MOST_CHOICES: usize = 20;

/// Which questions are asked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Methods, in the order of the table.
    pub methods: Vec<Method>,
    /// Subtasks; empty for all of the benchmark.
    pub subtasks: Vec<String>,
    /// Lengths; empty where contexts have the length that they have.
    pub lengths: Vec<Length>,
    /// Positions.
    pub positions: Vec<Position>,
    /// Most samples of each cell.
    pub samples: usize,
}

impl Grid {
    /// The cells of `benchmark`, subtask by subtask.
    ///
    /// # Errors
    /// A subtask that the benchmark does not have; lengths where it has none, or none where it needs them.
    pub fn cells(&self, benchmark: &dyn Benchmark) -> Result<Vec<Cell>> {
        let known = benchmark.subtasks();
        if let Some(stranger) = self.subtasks.iter().find(|name| !known.contains(name)) {
            let (name, list) = (benchmark.name(), known.join(", "));
            return Err(Error::Invalid(format!("{name} has no subtask `{stranger}`: it has {list}")));
        }
        let lengths: Vec<Option<Length>> = match (benchmark.has_lengths(), self.lengths.is_empty()) {
            (true, true) => {
                let reason = format!("{} needs --lengths, as in 1k,2k,4k", benchmark.name());
                return Err(Error::Invalid(reason));
            }
            (false, false) => {
                let reason = format!(
                    "contexts of {} have the length that they have: leave --lengths out",
                    benchmark.name()
                );
                return Err(Error::Invalid(reason));
            }
            (false, true) => vec![None],
            (true, false) => self.lengths.iter().copied().map(Some).collect(),
        };
        let subtasks = if self.subtasks.is_empty() { &known } else { &self.subtasks };
        let mut cells = Vec::new();
        for subtask in subtasks {
            for &position in &self.positions {
                let cell = |&length| Cell { subtask: subtask.clone(), length, position };
                cells.extend(lengths.iter().map(cell));
            }
        }
        Ok(cells)
    }
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// A score for each cell and method, in the order of the grid.
    pub rows: Vec<CellScore>,
    /// What guessing evenly among the answers that occurred would score, 0 to 1; `None` where answers are open.
    pub chance: Option<f64>,
    /// The records behind the rows, in their order.
    pub records: Vec<SampleRecord>,
}

/// Asks what has not been asked yet; `None` if a stop was requested before the end.
///
/// # Errors
/// A cell that the benchmark does not have, a sample that cannot be made, a disk that refuses.
pub fn evaluate(
    models: &Models,
    benchmark: &dyn Benchmark,
    grid: &Grid,
    folder: &mut EvalFolder,
    observer: &dyn Observer,
) -> Result<Option<Found>> {
    let cells = grid.cells(benchmark)?;
    let mut counts = Vec::new();
    // Everything that can be wrong with the data shows before the first question.
    for cell in &cells {
        let count = benchmark.count(cell)?.map_or(grid.samples, |count| count.min(grid.samples));
        if count > 0 {
            benchmark.sample(cell, 0)?;
        }
        counts.push(count);
    }
    let total = counts.iter().sum::<usize>() * grid.methods.len();
    let run = Run { models, benchmark, observer, total, done: AtomicUsize::new(0) };
    let (mut rows, mut used) = (Vec::new(), Vec::new());
    for (cell, &count) in cells.iter().zip(&counts) {
        for &method in &grid.methods {
            let Some(records) = run.cell(method, cell, count, folder)? else { return Ok(None) };
            let references: Vec<&SampleRecord> = records.iter().collect();
            rows.push(cell_score(method, cell, benchmark.metric(), &references, peak_bytes()));
            used.extend(records);
        }
    }
    Ok(Some(Found { rows, chance: chance(&used), records: used }))
}

/// One over the number of different answers, where they are few.
fn chance(records: &[SampleRecord]) -> Option<f64> {
    let answers: BTreeSet<&str> =
        records.iter().filter_map(|record| Some(record.answers.first()?.as_str())).collect();
    (1..=MOST_CHOICES).contains(&answers.len()).then(|| 1.0 / answers.len() as f64)
}

struct Run<'a> {
    models: &'a Models,
    benchmark: &'a dyn Benchmark,
    observer: &'a dyn Observer,
    /// Questions of the whole evaluation.
    total: usize,
    done: AtomicUsize,
}

impl Run<'_> {
    /// The records of a cell, of which those that are missing are asked now; `None` after a stop.
    fn cell(
        &self,
        method: Method,
        cell: &Cell,
        count: usize,
        folder: &mut EvalFolder,
    ) -> Result<Option<Vec<SampleRecord>>> {
        let old = folder.records.iter().filter(|record| record.is_of(method, cell) && record.index < count);
        let mut records: Vec<SampleRecord> = old.cloned().collect();
        let known: HashSet<usize> = records.iter().map(|record| record.index).collect();
        let missing: Vec<usize> = (0..count).filter(|index| !known.contains(index)).collect();
        self.done.fetch_add(known.len(), Ordering::Relaxed);
        let what = describe(method, cell);
        let new = Mutex::new(Vec::new());
        let done = || {
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            self.observer.notice(&Event::Scoring { what: &what, done, total: self.total });
            !self.observer.stop_requested()
        };
        self.models.session().workers.map_while(&missing, &done, |&index| {
            let record = self.ask(method, cell, index)?;
            folder.journal.add(&record)?;
            new.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            Ok(())
        })?;
        records.extend(new.into_inner().unwrap_or_else(PoisonError::into_inner));
        records.sort_by_key(|record| record.index);
        Ok((records.len() == count).then_some(records))
    }

    fn ask(&self, method: Method, cell: &Cell, index: usize) -> Result<SampleRecord> {
        let sample = self.benchmark.sample(cell, index)?;
        let (asker, params, encoder) = self.models.of(method);
        let episode = encoder.encode(&episode(&sample)?, index as u64, Split::HeldOut)?;
        let asked = asker.ask(params, method, &episode)?;
        let reply = first(asked.replies, &sample)?;
        Ok(SampleRecord {
            method,
            cell: cell.clone(),
            index,
            scores: scores(
                self.benchmark.metric(),
                &cell.subtask,
                &sample.question,
                &sample.answers,
                &reply.output,
            )?,
            name: sample.name,
            context_tokens: episode.context_tokens,
            dropped_tokens: reply.dropped_tokens,
            prompt: asker.tokenizer.decode(&reply.prompt)?,
            question: sample.question,
            answers: sample.answers,
            output: reply.output,
            ended: reply.ended,
            encode_secs: asked.encode_secs,
            ask_secs: reply.ask_secs,
        })
    }
}

/// The sample as the encoder takes it.
fn episode(sample: &Sample) -> Result<Episode> {
    let answer = sample.answers.first().ok_or_else(|| no_answer(sample))?.clone();
    let qa = Qa { question: sample.question.clone(), answer, support: Vec::new() };
    Ok(Episode { name: sample.name.clone(), documents: sample.documents.clone(), qa: vec![qa] })
}

fn first(replies: Vec<Reply>, sample: &Sample) -> Result<Reply> {
    replies.into_iter().next().ok_or_else(|| no_answer(sample))
}

fn no_answer(sample: &Sample) -> Error {
    Error::Invalid(format!("sample {} has no answer", sample.name))
}

fn describe(method: Method, cell: &Cell) -> String {
    let length = cell.length.map_or_else(String::new, |length| format!(" at {length}"));
    format!("{} {}{length}, {}", method.name(), cell.subtask, cell.position.name())
}
