//! Meta-training: the outer loop of PERK (section 3.2), with its scores and checkpoints. Fine-tuning with the
//! context in the prompt, its baseline, is the same loop with another gradient.

use std::{path::Path, time::Instant};

use crate::{
    checkpoint::{Progress, load_progress, load_tensors, save_run, write_file},
    config::{Config, Objective},
    error::{Error, Result},
    meta::{GradientMean, MetaGradient, MetaGradients, MetaParams, OuterState},
    model::lora::Adapter,
    model::{HubSettings, base_written_in},
    report::{Metrics, RunFolder, RunResult, RunWriter, StepRecord, peak_bytes},
    store::base_digest,
    tasks::{self, EncodedEpisode, EpisodeSource, Split},
};

use super::{
    Event, Observer, Setup,
    inner_start::require_base,
    scores,
    setup::{locate_base, settle},
};

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// At its last step, with its table.
    Finished(Box<RunResult>),
    /// Early, because a stop was requested; it can be continued.
    Interrupted {
        /// Outer steps done.
        step: usize,
    },
}

/// Meta-trains as `config` says, from the start, into the folder of `writer`.
///
/// The first checkpoint stands before the first step, so that a run that ends at any moment can be continued.
///
/// # Errors
/// A base, data or checkpoint that cannot be used; a loss or gradient that is not finite.
pub fn start(
    config: &Config,
    writer: &RunWriter,
    hub: &HubSettings,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let (mut config, folder) = (config.clone(), writer.folder());
    folder.dir().clone_into(&mut config.run.dir);
    let setup = Setup::open(&config, hub)?;
    let state = initial_state(&setup)?;
    let text = setup.config.to_toml()?;
    let progress = Progress {
        step: 0,
        next_episode: 0,
        seed: config.run.seed,
        best_score: None,
        train_secs: 0.0,
        eval_secs: 0.0,
        last_eval_step: 0,
        config: text,
        base: Some(base_digest(&setup.base.folder)?),
    };
    let run = Run::new(setup, folder, state, progress, observer)?;
    run.save(&folder.last())?;
    run.run_to_the_end()
}

/// Continues the run in the folder of `writer` from its last checkpoint, exactly as if it had never stopped.
///
/// # Errors
/// As [`start`]; and a configuration that would change the course of the run.
pub fn resume(
    config: &Config,
    writer: &RunWriter,
    hub: &HubSettings,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let (mut config, folder) = (config.clone(), writer.folder());
    folder.dir().clone_into(&mut config.run.dir);
    config.model.base = base_written_in(folder.dir(), &config.model.base);
    let mut progress = load_progress(&folder.last())?;
    let mut saved = Config::from_checkpoint(&folder.last(), &progress.config)?;
    saved.model.base = base_written_in(folder.dir(), &saved.model.base);
    config.model.begin_token = config.model.begin_token.or_else(|| saved.model.begin_token.clone());
    if config.data.chat_template.is_of_base() {
        let folder = locate_base(&config, hub)?.folder;
        settle(&mut config, &folder)?;
    }
    let mut changed = config.differences(&saved);
    if progress.base.is_some() {
        // The base may have moved: its digest says whether it is the same.
        changed.retain(|difference| !difference.starts_with("model.base:"));
    }
    if !changed.is_empty() {
        let list = changed.join("\n  ");
        let reason = format!(
            "the run was started with another configuration:\n  {list}\nstart a new run for these, in another folder (--out)"
        );
        return Err(Error::file(folder.dir(), reason));
    }
    let consumed = (progress.step as u64).checked_mul(config.outer.episodes_per_step as u64);
    if consumed != Some(progress.next_episode) {
        let (step, next) = (progress.step, progress.next_episode);
        let reason = format!("damaged: step {step} cannot be followed by episode {next}");
        return Err(Error::file(folder.last(), reason));
    }
    let setup = Setup::open(&config, hub)?;
    let base = &setup.base.folder;
    require_base(folder.dir(), progress.base.as_ref(), &base_digest(base)?, base)?;
    let mut state = OuterState::new(&setup.learner, &setup.outer, config.run.seed)?;
    let tensors = load_tensors(&folder.last(), &setup.decoder().device)?;
    state.load_named(&folder.last(), tensors)?;
    state.set_step(progress.step);
    progress.config = setup.config.to_toml()?;
    Run::new(setup, folder, state, progress, observer)?.run_to_the_end()
}

/// The untrained state, or the one of `outer.start_from` with a new optimiser.
fn initial_state(setup: &Setup) -> Result<OuterState> {
    let mut state = OuterState::new(&setup.learner, &setup.outer, setup.config.run.seed)?;
    if let Some(folder) = &setup.config.outer.start_from {
        let mut tensors = load_tensors(folder, &setup.decoder().device)?;
        for (name, tensor) in &mut tensors {
            if name.starts_with("m.") || name.starts_with("v.") {
                *tensor = tensor.zeros_like()?;
            }
        }
        state.load_named(folder, tensors)?;
    }
    Ok(state)
}

/// Fails with the first number that is NaN or infinite.
fn all_finite<'n>(
    numbers: impl IntoIterator<Item = (&'n str, f64)>,
    step: usize,
    episode: u64,
) -> Result<()> {
    match numbers.into_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((what, value)) => Err(Error::NonFinite { what: what.to_owned(), value, step, episode }),
    }
}

struct Run<'a> {
    setup: Setup,
    folder: &'a RunFolder,
    observer: &'a dyn Observer,
    source: Box<dyn EpisodeSource>,
    held_out: Vec<EncodedEpisode>,
    state: OuterState,
    progress: Progress,
    metrics: Metrics,
}

impl<'a> Run<'a> {
    fn new(
        setup: Setup,
        folder: &'a RunFolder,
        state: OuterState,
        progress: Progress,
        observer: &'a dyn Observer,
    ) -> Result<Self> {
        for note in &setup.notes {
            observer.notice(&Event::Note(note));
        }
        let config = &setup.config;
        let source = tasks::open(&config.data, &setup.tokenizer, Split::Train, 1, config.run.seed)?;
        // Everything that can be wrong with the data shows before the run leaves a trace.
        let during = if config.eval.every == 0 { 0 } else { config.eval.episodes_during };
        let held_out = scores::held_out(&setup, 1, during)?;
        scores::require_possible(&setup)?;
        setup.encoder.encode(&source.episode(0)?, 0, Split::Train)?;
        write_file(&folder.config(), |out| {
            out.write_all(progress.config.as_bytes()).map_err(|source| Error::io(folder.config(), source))
        })?;
        Ok(Self {
            held_out,
            metrics: Metrics::open(&folder.metrics(), progress.step)?,
            setup,
            folder,
            observer,
            source,
            state,
            progress,
        })
    }

    fn run_to_the_end(mut self) -> Result<Outcome> {
        self.observer.notice(&Event::Started {
            dir: self.folder.dir(),
            step: self.progress.step,
            steps: self.setup.outer.steps,
            parameters: self.parameters(),
        });
        // A stop may have come in the middle of this step's score.
        if !self.score_if_due()? {
            return self.interrupted();
        }
        while self.progress.step < self.setup.outer.steps {
            if self.observer.stop_requested() {
                return self.interrupted();
            }
            self.outer_step()?;
            if !self.score_if_due()? {
                return self.interrupted();
            }
            if self.is_due(self.setup.config.run.checkpoint_every) {
                self.save(&self.folder.last())?;
            }
        }
        self.save(&self.folder.last())?;
        self.finish()
    }

    /// One step of the outer optimiser along the mean meta-gradient of some episodes.
    fn outer_step(&mut self) -> Result<()> {
        let start = Instant::now();
        let params = self.state.params()?;
        let (gradient, context_tokens) = self.mean_gradient(&params)?;
        let lr_factor = self.setup.lr_factor(self.progress.step);
        let grad_norm = self.state.apply(&gradient.tree, &self.setup.outer)?;
        let norm = [("the norm of the mean meta-gradient", grad_norm)];
        all_finite(norm, self.progress.step, self.progress.next_episode)?;
        self.progress.step += 1;
        self.progress.next_episode += self.setup.config.outer.episodes_per_step as u64;
        let secs = start.elapsed().as_secs_f64();
        self.progress.train_secs += secs;
        let loss = |place: Option<&f64>| place.copied().unwrap_or_default();
        let record = StepRecord {
            step: self.progress.step,
            lr_factor,
            inner_loss_first: loss(gradient.inner_losses.first()),
            inner_loss_last: loss(gradient.inner_losses.last()),
            outer_loss: gradient.outer_loss,
            grad_norm,
            context_tokens,
            secs,
        };
        self.metrics.step(&record)?;
        self.observer.notice(&Event::Stepped(&record));
        Ok(())
    }

    /// The mean over the step's episodes, and the tokens of their contexts.
    fn mean_gradient(&self, params: &MetaParams) -> Result<(MetaGradient, usize)> {
        let first = self.progress.next_episode;
        let indices: Vec<u64> = (first..).take(self.setup.config.outer.episodes_per_step).collect();
        let (workers, together) = (&self.setup.workers, self.setup.together);
        let groups: Vec<&[u64]> = indices.chunks(together).collect();
        // Gradients wait here to be added in order: a few for each thread, not all of a large step's.
        let at_once = if workers.count() == 1 { 1 } else { 4 * workers.count() };
        let (mut mean, mut context_tokens) = (GradientMean::default(), 0);
        for part in groups.chunks(at_once) {
            for (gradients, tokens) in workers.map(part, |indices| self.gradients(params, indices))? {
                mean.add(gradients)?;
                context_tokens += tokens;
            }
        }
        Ok((mean.finish()?, context_tokens))
    }

    /// The meta-gradients of some episodes, computed together, and the tokens of their contexts.
    fn gradients(&self, params: &MetaParams, indices: &[u64]) -> Result<(MetaGradients, usize)> {
        let objective = self.setup.config.outer.objective;
        let encode =
            |&index: &u64| self.setup.encoder.encode_training(&self.source.episode(index)?, index, objective);
        let episodes = indices.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let queries: Vec<_> = episodes.iter().map(|episode| &episode.queries[..]).collect();
        let learner = &self.setup.learner;
        let gradients = match objective {
            Objective::Perk => {
                let contexts: Vec<_> = episodes.iter().map(|episode| &episode.segments[..]).collect();
                learner.meta_gradients(params, &contexts, &queries)?
            }
            Objective::InContext => learner.answer_gradients(params, &queries)?,
        };
        self.require_finite(&gradients, indices)?;
        Ok((gradients, episodes.iter().map(|episode| episode.context_tokens).sum()))
    }

    /// Stops the run before a NaN or an infinity reaches the optimiser.
    fn require_finite(&self, gradients: &MetaGradients, indices: &[u64]) -> Result<()> {
        let step = self.progress.step;
        for (own, &index) in gradients.episodes.iter().zip(indices) {
            let inner = own.inner_losses.iter().map(|&loss| ("the inner loss", loss));
            let rest = [("the outer loss", own.outer_loss), ("the norm of the meta-gradient", own.norm)];
            all_finite(inner.chain(rest), step, index)?;
        }
        let norm = [("the norm of the meta-gradient", gradients.tree.norm()?)];
        all_finite(norm, step, indices.first().copied().unwrap_or_default())
    }

    /// Scores held-out episodes where it is time, and keeps the best state; false if a stop was requested
    /// meanwhile.
    fn score_if_due(&mut self) -> Result<bool> {
        let (step, start) = (self.progress.step, Instant::now());
        if !self.is_due(self.setup.config.eval.every) || self.progress.last_eval_step == step {
            return Ok(true);
        }
        let params = self.state.params()?;
        let record = scores::during(&self.setup, &params, &self.held_out, step, self.observer)?;
        self.progress.eval_secs += start.elapsed().as_secs_f64();
        let Some(record) = record else { return Ok(false) };
        self.progress.last_eval_step = step;
        self.metrics.eval(&record)?;
        self.observer.notice(&Event::Scored(&record));
        // Of equal scores the later one has the lower loss as a rule.
        if self.progress.best_score.is_none_or(|best| record.exact_match >= best) {
            self.progress.best_score = Some(record.exact_match);
            self.save(&self.folder.best())?;
        }
        Ok(true)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let layout = self.setup.learner.layout.clone();
        let adapter = Adapter { layout, tensors: self.state.adapter() };
        let base = self.setup.base.place.for_transformers();
        save_run(folder, &self.progress, &self.state.named_tensors(), |new| adapter.save(new, &base))?;
        self.observer.notice(&Event::Saved(folder));
        Ok(())
    }

    fn interrupted(&self) -> Result<Outcome> {
        self.save(&self.folder.last())?;
        Ok(Outcome::Interrupted { step: self.progress.step })
    }

    fn finish(mut self) -> Result<Outcome> {
        let start = Instant::now();
        let params = self.state.params()?;
        let scores = scores::at_the_end(&self.setup, &params, self.observer)?;
        self.progress.eval_secs += start.elapsed().as_secs_f64();
        let Some((rows, chance)) = scores else {
            return Ok(Outcome::Interrupted { step: self.progress.step });
        };
        let result = RunResult {
            rows,
            chance,
            steps: self.progress.step,
            trainable_parameters: self.parameters(),
            train_secs: self.progress.train_secs,
            eval_secs: self.progress.eval_secs,
            peak_bytes: peak_bytes(),
            seed: self.progress.seed,
            config: self.folder.config(),
            checkpoint: self.folder.last(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        result.write(&self.folder.result())?;
        Ok(Outcome::Finished(Box::new(result)))
    }

    fn is_due(&self, every: usize) -> bool {
        every > 0 && self.progress.step.is_multiple_of(every)
    }

    fn parameters(&self) -> usize {
        self.state.num_parameters().iter().sum()
    }
}
