//! Held-out scores of a run: the short one during training, and the table at its end. Both are evaluations of the
//! benchmark `held-out`.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use crate::{
    benchmarks::{Benchmark, HeldOut},
    config::{EvalConfig, Objective, Task},
    error::{Error, Result},
    eval::{CellSource, Method, SampleRecord, cell_score, chance},
    meta::MetaParams,
    report::{EvalRecord, Evaluation, peak_bytes},
    tasks::Split,
};

use super::super::{Event, Observer, Setup};

/// What a run holds out.
pub(super) fn held_out(setup: &Setup) -> HeldOut {
    HeldOut::new(setup.config.data.clone(), setup.tokenizer.clone(), setup.config.run.seed)
}

/// Refuses what would show at the end of a run only: contexts that cannot be made at one of its lengths, and a limit
/// of tokens at which a reasoned answer could not come behind its facts.
///
/// # Errors
/// Such contexts and such a limit; data that cannot be read.
pub(super) fn require_possible(setup: &Setup) -> Result<()> {
    let (eval, benchmark) = (&setup.config.eval, held_out(setup));
    for &multiple in &eval.multiples {
        benchmark.open(&benchmark.cell(multiple))?.episode(0)?;
    }
    if setup.reasoning.is_none() {
        return Ok(());
    }
    // Targets are the same at every length, but for those of groups of students, which grow.
    let mut multiples = eval.multiples.clone();
    multiples.sort_unstable();
    if setup.config.data.task != Task::StudentRecords {
        multiples.truncate(1);
    }
    let mut longest = (0, String::new());
    for multiple in multiples {
        longest = longest.max(longest_target(setup, &benchmark, multiple)?);
    }
    let (tokens, name) = longest;
    if tokens <= eval.max_new_tokens {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "eval.max_new_tokens: is {}, but the facts and the answer of episode {name} have {tokens} tokens: allow as many, \
         or more",
        eval.max_new_tokens
    )))
}

/// Tokens of the longest target among the episodes that will be asked, and the name of its episode.
fn longest_target(setup: &Setup, benchmark: &HeldOut, multiple: usize) -> Result<(usize, String)> {
    let eval = &setup.config.eval;
    let source = benchmark.open(&benchmark.cell(multiple))?;
    let most = eval.episodes.max(eval.episodes_during) as u64;
    let mut longest = (0, String::new());
    for index in 0..source.len().map_or(most, |len| len.min(most)) {
        let episode = source.episode(index)?;
        let encoded = setup.encoder.encode(&episode, index, Split::HeldOut, Objective::Perk)?;
        let tokens = encoded.queries.iter().map(|query| query.tokens.len() - query.loss_from).max();
        longest = longest.max((tokens.unwrap_or(0), episode.name));
    }
    Ok(longest)
}

/// Exact match after adaptation at the trained length; `None` if a stop was requested before the end.
///
/// # Errors
/// An adapter that has diverged, and what tensor operations refuse.
pub(super) fn during(
    setup: &Setup,
    params: &MetaParams,
    step: usize,
    observer: &dyn Observer,
) -> Result<Option<EvalRecord>> {
    let start = Instant::now();
    let method = match setup.config.outer.objective {
        Objective::Perk => Method::Perk,
        Objective::InContext => Method::FtIcr,
    };
    let mut scoring = Scoring { setup, params, benchmark: held_out(setup), observer };
    let count = setup.config.eval.episodes_during;
    let Some(records) = scoring.cell(method, 1, count, "held-out score")? else { return Ok(None) };
    let cell = scoring.benchmark.cell(1);
    let score = cell_score(method, &cell, scoring.benchmark.metric(), &records, None);
    let secs = start.elapsed().as_secs_f64();
    Ok(Some(EvalRecord { step, exact_match: score.score, n: score.samples, support: score.support, secs }))
}

/// The evaluation of the last table; `None` if a stop was requested before the end.
///
/// # Errors
/// Data that cannot be read, and as [`during`].
pub(super) fn at_the_end(
    setup: &Setup,
    params: &MetaParams,
    observer: &dyn Observer,
) -> Result<Option<Evaluation>> {
    let eval = &setup.config.eval;
    let mut scoring = Scoring { setup, params, benchmark: held_out(setup), observer };
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for &multiple in &eval.multiples {
        for method in methods(eval, setup.config.outer.objective) {
            let what = format!("{} at {multiple}×", method.name());
            let Some(records) = scoring.cell(method, multiple, eval.episodes, &what)? else {
                return Ok(None);
            };
            let (cell, metric) = (scoring.benchmark.cell(multiple), scoring.benchmark.metric());
            rows.push(cell_score(method, &cell, metric, &records, peak_bytes()));
            all.extend(records);
        }
    }
    Ok(Some(Evaluation {
        benchmark: scoring.benchmark.name().to_owned(),
        metric: scoring.benchmark.metric(),
        seed: setup.config.run.seed,
        chance: chance(scoring.benchmark.metric(), &all),
        rows,
        break_even: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

/// The methods of the last table.
fn methods(eval: &EvalConfig, objective: Objective) -> Vec<Method> {
    let asked = |method: &Method| match method {
        Method::Perk => objective == Objective::Perk,
        Method::FtIcr => objective == Objective::InContext,
        Method::NoAdaptation => objective == Objective::Perk && eval.no_adaptation,
        Method::Icr => eval.in_context,
        Method::Base | Method::Rag => false,
    };
    Method::ALL.into_iter().filter(asked).collect()
}

/// Asks about held-out episodes for an observer.
struct Scoring<'a> {
    setup: &'a Setup,
    params: &'a MetaParams,
    benchmark: HeldOut,
    observer: &'a dyn Observer,
}

impl Scoring<'_> {
    /// The records of the first `count` episodes at `multiple` times the trained length, or of all if there are fewer;
    /// `None` if a stop was requested meanwhile.
    fn cell(
        &mut self,
        method: Method,
        multiple: usize,
        count: usize,
        what: &str,
    ) -> Result<Option<Vec<SampleRecord>>> {
        let cell = self.benchmark.cell(multiple);
        let episodes = self.benchmark.open(&cell)?;
        let total = episodes.len().map_or(count, |len| count.min(usize::try_from(len).unwrap_or(count)));
        let source = CellSource {
            cell: &cell,
            metric: self.benchmark.metric(),
            episodes: episodes.as_ref(),
            count: total,
        };
        let done = AtomicUsize::new(0);
        let go_on = || {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            self.observer.notice(&Event::Scoring { what, done, total });
            !self.observer.stop_requested()
        };
        let model = self.setup.model(Some(self.params), method);
        let tell = |note: &str| self.observer.notice(&Event::Note(note));
        let records =
            self.setup.evaluator(&tell).cell(&model, &source, Vec::new(), &|_, _| Ok(()), &go_on)?;
        Ok(records.filter(|_| !self.observer.stop_requested()))
    }
}
