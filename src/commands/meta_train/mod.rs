//! Meta-training: the outer loop of PERK (section 3.2), with its scores and checkpoints. Fine-tuning with the
//! context in the prompt, its baseline, is the same loop with another gradient.

mod beginning;
mod follow;
mod gradient;
mod scores;

use std::{path::Path, time::Instant};

use crate::{
    checkpoint::{Progress, save_run, write_file},
    config::{Config, PeftBase},
    error::{Error, Result},
    meta::OuterState,
    model::HubSettings,
    model::lora::Adapter,
    ranks::{Ranks, is_alone},
    report::{Metrics, RunFolder, RunResult, RunWriter, StepRecord, peak_bytes},
    tasks::{self, EpisodeSource, Split},
};

use self::beginning::Beginning;
use self::gradient::{Gradients, all_finite};
use super::{Event, Observer, Setup};

pub(super) use follow::{Follower, Order};

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

/// Meta-trains as `config` says, from the start, into the folder of `writer`. This is rank 0 of `ranks`; the others
/// [follow](super::follow).
///
/// The first checkpoint stands before the first step, so that a run that ends at any moment can be continued.
///
/// # Errors
/// A base, data or checkpoint that cannot be used; a loss or gradient that is not finite.
pub fn start(
    config: &Config,
    writer: &RunWriter,
    hub: &HubSettings,
    ranks: &dyn Ranks,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let folder = writer.folder();
    let run = Run::new(Beginning::new(config, folder, hub)?, folder, ranks, observer)?;
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
    ranks: &dyn Ranks,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let folder = writer.folder();
    Run::new(Beginning::resumed(config, folder, hub)?, folder, ranks, observer)?.run_to_the_end()
}

struct Run<'a> {
    setup: Setup,
    folder: &'a RunFolder,
    ranks: &'a dyn Ranks,
    observer: &'a dyn Observer,
    source: Box<dyn EpisodeSource>,
    state: OuterState,
    progress: Progress,
    metrics: Metrics,
}

impl<'a> Run<'a> {
    fn new(
        beginning: Beginning,
        folder: &'a RunFolder,
        ranks: &'a dyn Ranks,
        observer: &'a dyn Observer,
    ) -> Result<Self> {
        let Beginning { setup, state, progress } = beginning;
        setup.notes.iter().for_each(|note| observer.notice(&Event::Note(note)));
        if let Some(batching) = setup.batching() {
            observer.notice(&Event::Note(&batching.to_string()));
        }
        let config = &setup.config;
        let source = tasks::open(&config.data, &setup.tokenizer, Split::Train, 1, config.run.seed)?;
        // Everything that can be wrong with the data shows before the run leaves a trace.
        scores::require_possible(&setup)?;
        setup.encoder.encode(&source.episode(0)?, 0, Split::Train, config.outer.objective)?;
        write_file(&folder.config(), |out| {
            out.write_all(progress.config.as_bytes()).map_err(|source| Error::io(folder.config(), source))
        })?;
        let mut metrics = Metrics::open(&folder.metrics(), progress.step)?;
        if config.run.tensorboard {
            metrics = metrics.with_events(folder.dir(), progress.step)?;
        }
        Ok(Self { setup, folder, ranks, observer, source, state, progress, metrics })
    }

    fn run_to_the_end(mut self) -> Result<Outcome> {
        if !is_alone(self.ranks) {
            follow::lead(self.ranks, &self.setup, &self.state)?;
            self.observer.notice(&Event::Note(&format!("{} ranks share the episodes", self.ranks.count())));
        }
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
        Order::Step { step: self.progress.step, first: self.progress.next_episode }.tell(self.ranks)?;
        let params = self.state.params()?;
        let (setup, source, ranks) = (&self.setup, self.source.as_ref(), self.ranks);
        let tell = |note: &str| self.observer.notice(&Event::Note(note));
        let gradients = Gradients { setup, source, ranks, step: self.progress.step, tell: &tell };
        let (gradient, context_tokens) = gradients.mean(&params, self.progress.next_episode)?;
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

    /// Scores held-out episodes where it is time, and keeps the best state; false if a stop was requested
    /// meanwhile.
    fn score_if_due(&mut self) -> Result<bool> {
        let (step, start) = (self.progress.step, Instant::now());
        if !self.is_due(self.setup.config.eval.every) || self.progress.last_eval_step == step {
            return Ok(true);
        }
        let params = self.state.params()?;
        let record = scores::during(&self.setup, &params, step, self.observer)?;
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
        let base = PeftBase::new(&self.setup.base.place, self.setup.config.model.revision.as_deref());
        let progress = Progress { batching: self.setup.batching(), ..self.progress.clone() };
        save_run(folder, &progress, &self.state.named_tensors(), |new| adapter.save(new, base))?;
        self.observer.notice(&Event::Saved(folder));
        Ok(())
    }

    fn interrupted(&self) -> Result<Outcome> {
        Order::End.tell(self.ranks)?;
        self.save(&self.folder.last())?;
        Ok(Outcome::Interrupted { step: self.progress.step })
    }

    fn finish(mut self) -> Result<Outcome> {
        Order::End.tell(self.ranks)?;
        let start = Instant::now();
        let params = self.state.params()?;
        let evaluation = scores::at_the_end(&self.setup, &params, self.observer)?;
        self.progress.eval_secs += start.elapsed().as_secs_f64();
        let Some(evaluation) = evaluation else {
            return Ok(Outcome::Interrupted { step: self.progress.step });
        };
        let result = RunResult {
            evaluation,
            steps: self.progress.step,
            trainable_parameters: self.parameters(),
            train_secs: self.progress.train_secs,
            eval_secs: self.progress.eval_secs,
            peak_bytes: peak_bytes(),
            config: self.folder.config(),
            checkpoint: self.folder.last(),
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
