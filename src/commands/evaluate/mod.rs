//! Evaluation: a benchmark's questions, asked by several methods, journalled, scored and written down.

mod folder;
mod grid;
mod models;
mod source;
mod written;

pub use folder::{EvalFolder, EvalReservation};
pub use grid::{EvalGrid, EvalPlan};
pub use models::{ModelSources, Models};
pub use source::{Name, Source};
pub use written::{notes, write};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::{
    error::{Error, Result},
    eval::{CellScore, EncodedContext, EpisodeReply, Method, SampleRecord, cell_score, scores},
    report::peak_bytes,
    tasks::{
        EncodedEpisode, Episode, Qa,
        benchmark::{Benchmark, Cell, Sample},
    },
};

use super::{Event, Observer};

/// More different answers than this are no choice that one could guess from.
const MOST_CHOICES: usize = 20;

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
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
/// A sample that cannot be made or asked, a file that cannot be written.
pub fn evaluate(
    models: &Models,
    benchmark: &dyn Benchmark,
    plan: &EvalPlan,
    folder: &mut EvalFolder,
    observer: &dyn Observer,
) -> Result<Option<Evaluated>> {
    let mut run =
        Run { models, benchmark, folder, observer, total: plan.questions(), done: AtomicUsize::new(0) };
    let (mut rows, mut records) = (Vec::new(), Vec::new());
    for (cell, count) in &plan.cells {
        for &method in &plan.methods {
            let Some(asked) = run.cell(method, cell, *count)? else { return Ok(None) };
            rows.push(cell_score(method, cell, benchmark.metric(), &asked, peak_bytes()));
            records.extend(asked);
        }
    }
    Ok(Some(Evaluated { rows, chance: chance(&records), records }))
}

/// One over the number of different answers, mean over the subtasks; `None` where they are too many to guess.
fn chance(records: &[SampleRecord]) -> Option<f64> {
    let mut answers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in records {
        let own = answers.entry(&record.cell.subtask).or_default();
        own.extend(record.answers.first().map(String::as_str));
    }
    let choices: Vec<usize> = answers.values().map(BTreeSet::len).collect();
    let possible = !choices.is_empty() && choices.iter().all(|count| (1..=MOST_CHOICES).contains(count));
    possible.then(|| choices.iter().map(|&count| 1.0 / count as f64).sum::<f64>() / choices.len() as f64)
}

/// A sample whose context is encoded.
struct Asked {
    index: usize,
    sample: Sample,
    episode: EncodedEpisode,
    context: EncodedContext,
}

struct Run<'a> {
    models: &'a Models,
    benchmark: &'a dyn Benchmark,
    folder: &'a mut EvalFolder,
    observer: &'a dyn Observer,
    /// Questions of the whole evaluation.
    total: usize,
    done: AtomicUsize,
}

impl Run<'_> {
    /// The records of a cell, of which those that are missing are asked now; `None` after a stop.
    fn cell(&mut self, method: Method, cell: &Cell, count: usize) -> Result<Option<Vec<SampleRecord>>> {
        let mut records = self.folder.take(method, cell);
        records.retain(|record| record.index < count);
        let known: BTreeSet<usize> = records.iter().map(|record| record.index).collect();
        let missing: Vec<usize> = (0..count).filter(|index| !known.contains(index)).collect();
        self.done.fetch_add(known.len(), Ordering::Relaxed);
        let what = describe(method, cell);
        let done = || {
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            self.observer.notice(&Event::Scoring { what: &what, done, total: self.total });
            !self.observer.stop_requested()
        };
        let setup = self.models.setup();
        let groups: Vec<&[usize]> = missing.chunks(setup.together).collect();
        let stopped = AtomicBool::new(false);
        let go_on = || !stopped.load(Ordering::Relaxed);
        let ask = |group: &&[usize]| {
            let mut records = vec![];
            for asked in self.encoded(method, cell, group)? {
                records.push(self.ask(method, cell, asked)?);
                if !done() {
                    stopped.store(true, Ordering::Relaxed);
                    break;
                }
            }
            Ok(records)
        };
        records.extend(setup.workers.map_while(&groups, &go_on, ask)?.into_iter().flatten());
        records.sort_by_key(|record| record.index);
        Ok((records.len() == count).then_some(records))
    }

    /// Samples of a cell with their contexts, encoded together.
    fn encoded(&self, method: Method, cell: &Cell, indices: &[usize]) -> Result<Vec<Asked>> {
        let (asker, params, encoder) = self.models.of(method);
        let mut samples = vec![];
        for &index in indices {
            let sample = self.benchmark.sample(cell, index)?;
            samples.push((encoder.encode_to_ask(&episode(&sample)?, index as u64)?, sample));
        }
        let episodes: Vec<&EncodedEpisode> = samples.iter().map(|(episode, _)| episode).collect();
        let contexts = asker.encode(params, method, &episodes)?;
        let asked = indices.iter().zip(samples).zip(contexts);
        Ok(asked
            .map(|((&index, (episode, sample)), context)| Asked { index, sample, episode, context })
            .collect())
    }

    /// Asks one question and journals it.
    fn ask(&self, method: Method, cell: &Cell, asked: Asked) -> Result<SampleRecord> {
        let Asked { index, sample, episode, context } = asked;
        let (asker, ..) = self.models.of(method);
        let asked = asker.ask(&context, method, &episode)?;
        let reply = first(asked.replies, &sample)?;
        let metric = self.benchmark.metric();
        let answer = &reply.answer.answer;
        let scores = scores(metric, &cell.subtask, &sample.question, &sample.answers, answer)?;
        let record = SampleRecord {
            method,
            cell: cell.clone(),
            index,
            scores,
            name: sample.name,
            context_tokens: episode.context_tokens,
            dropped_tokens: reply.dropped_tokens,
            question: sample.question,
            answers: sample.answers,
            concluded: (*answer != reply.output).then(|| answer.clone()),
            facts: episode.queries.first().map_or_else(Vec::new, |query| query.support.clone()),
            support: reply.support,
            output: reply.output,
            ended: reply.ended,
            encode_secs: asked.encode_secs,
            ask_secs: reply.ask_secs,
        };
        self.folder.add(&record, &asker.tokenizer.decode(&reply.prompt)?)?;
        Ok(record)
    }
}

/// The sample as the encoder takes it.
fn episode(sample: &Sample) -> Result<Episode> {
    let answer = sample.answers.first().ok_or_else(|| no_answer(sample))?.clone();
    let qa = Qa { question: sample.question.clone(), answer, support: sample.support.clone() };
    Ok(Episode { name: sample.name.clone(), documents: sample.documents.clone(), qa: vec![qa] })
}

fn first(replies: Vec<EpisodeReply>, sample: &Sample) -> Result<EpisodeReply> {
    replies.into_iter().next().ok_or_else(|| no_answer(sample))
}

fn no_answer(sample: &Sample) -> Error {
    Error::Invalid(format!("sample {} has no answer", sample.name))
}

fn describe(method: Method, cell: &Cell) -> String {
    let length = cell.length.map_or_else(String::new, |length| format!(" at {length}"));
    format!("{} {}{length}, {}", method.name(), cell.subtask, cell.position.name())
}
