//! Held-out scores of a run: the short one during training, and the table at its end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use crate::{
    config::{EvalConfig, Objective, Task},
    error::{Error, Result},
    eval::{Method, Row, Scorer, chance},
    meta::MetaParams,
    report::EvalRecord,
    tasks::{self, EncodedEpisode, Split},
};

use super::{Event, Observer, Setup};

/// The first `count` held-out episodes at `multiple` times the trained length; fewer if there are fewer.
///
/// # Errors
/// Data that cannot be read, or that does not fill the length.
pub fn held_out(setup: &Setup, multiple: usize, count: usize) -> Result<Vec<EncodedEpisode>> {
    let config = &setup.config;
    let source = tasks::open(&config.data, &setup.tokenizer, Split::HeldOut, multiple, config.run.seed)?;
    let count = source.len().map_or(count as u64, |len| len.min(count as u64));
    let encode = |index| setup.encoder.encode(&source.episode(index)?, index, Split::HeldOut);
    (0..count).map(encode).collect()
}

/// Refuses what would show at the end of a run only: contexts that cannot be made at one of its lengths, and a limit
/// of tokens at which a reasoned answer could not come behind its facts.
///
/// # Errors
/// As [`held_out`], and such a limit.
pub fn require_possible(setup: &Setup) -> Result<()> {
    let eval = &setup.config.eval;
    for &multiple in &eval.multiples {
        held_out(setup, multiple, 1)?;
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
    let mut episodes = Vec::new();
    for multiple in multiples {
        episodes.extend(held_out(setup, multiple, eval.episodes.max(eval.episodes_during))?);
    }
    let tokens = |episode: &EncodedEpisode| {
        episode.queries.iter().map(|query| query.target_tokens.len()).max().unwrap_or(0)
    };
    match episodes.iter().max_by_key(|episode| tokens(episode)) {
        Some(longest) if tokens(longest) > eval.max_new_tokens => Err(Error::Invalid(format!(
            "eval.max_new_tokens: is {}, but the facts and the answer of episode {} have {} tokens: allow as many, \
             or more",
            eval.max_new_tokens,
            longest.name,
            tokens(longest)
        ))),
        _ => Ok(()),
    }
}

/// Exact match of `episodes` after adaptation; `None` if a stop was requested before the end.
///
/// # Errors
/// An adapter that has diverged, and what tensor operations refuse.
pub fn during(
    setup: &Setup,
    params: &MetaParams,
    episodes: &[EncodedEpisode],
    step: usize,
    observer: &dyn Observer,
) -> Result<Option<EvalRecord>> {
    let start = Instant::now();
    let scoring = Scoring::new("held-out score", episodes.len(), observer);
    let method = match setup.config.outer.objective {
        Objective::Perk => Method::Perk,
        Objective::InContext => Method::FtIcr,
    };
    let tally = scorer(setup).tally(params, method, episodes, &|| scoring.done())?;
    if observer.stop_requested() {
        return Ok(None);
    }
    let exact_match = tally.share().unwrap_or(0.0);
    let (support, secs) = (tally.support(), start.elapsed().as_secs_f64());
    Ok(Some(EvalRecord { step, exact_match, n: tally.asked, support, secs }))
}

/// The rows of the last table and the chance level; `None` if a stop was requested before the end.
///
/// # Errors
/// As [`held_out`] and [`during`].
pub fn at_the_end(
    setup: &Setup,
    params: &MetaParams,
    observer: &dyn Observer,
) -> Result<Option<(Vec<Row>, f64)>> {
    let eval = &setup.config.eval;
    let (mut rows, mut seen) = (Vec::new(), Vec::new());
    for &multiple in &eval.multiples {
        let episodes = held_out(setup, multiple, eval.episodes)?;
        for method in methods(eval, setup.config.outer.objective) {
            let what = format!("{} at {multiple}×", method.name());
            let scoring = Scoring::new(&what, episodes.len(), observer);
            rows.push(scorer(setup).row(params, method, multiple, &episodes, &|| scoring.done())?);
            if observer.stop_requested() {
                return Ok(None);
            }
        }
        seen.extend(episodes);
    }
    Ok(Some((rows, chance(&seen))))
}

/// The methods of the last table.
fn methods(eval: &EvalConfig, objective: Objective) -> Vec<Method> {
    let asked = |method: &Method| match method {
        Method::Perk => objective == Objective::Perk,
        Method::FtIcr => objective == Objective::InContext,
        Method::NoAdaptation => objective == Objective::Perk && eval.no_adaptation,
        Method::Icr => eval.in_context,
        Method::Base => false,
    };
    Method::ALL.into_iter().filter(asked).collect()
}

fn scorer(setup: &Setup) -> Scorer<'_> {
    Scorer { asker: setup.asker(), workers: &setup.workers, together: setup.together }
}

/// Counts the episodes that are done, for the observer.
struct Scoring<'a> {
    what: &'a str,
    total: usize,
    done: AtomicUsize,
    observer: &'a dyn Observer,
}

impl<'a> Scoring<'a> {
    fn new(what: &'a str, total: usize, observer: &'a dyn Observer) -> Self {
        Self { what, total, done: AtomicUsize::new(0), observer }
    }

    /// Notes one more; false once a stop is requested.
    fn done(&self) -> bool {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.observer.notice(&Event::Scoring { what: self.what, done, total: self.total });
        !self.observer.stop_requested()
    }
}
