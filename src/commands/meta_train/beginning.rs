//! Where a run begins: at its first step, or behind its last checkpoint.

use crate::{
    checkpoint::{Progress, load_progress, load_tensors},
    config::{Config, MicroBatch},
    error::{Error, Result},
    meta::OuterState,
    model::{HubSettings, base_written_in},
    report::RunFolder,
};

use super::super::{
    Setup,
    inner_start::require_base,
    setup::{locate_base, settle},
};

/// What a run begins with.
pub(super) struct Beginning {
    pub(super) setup: Setup,
    pub(super) state: OuterState,
    pub(super) progress: Progress,
}

impl Beginning {
    /// A new run, from what is not trained or from `outer.start_from`.
    pub(super) fn new(config: &Config, folder: &RunFolder, hub: &HubSettings) -> Result<Self> {
        let setup = Setup::open(&in_folder(config, folder), hub)?;
        let state = initial_state(&setup)?;
        let progress = Progress {
            step: 0,
            next_episode: 0,
            seed: config.run.seed,
            best_score: None,
            train_secs: 0.0,
            eval_secs: 0.0,
            last_eval_step: 0,
            config: setup.config.to_toml()?,
            base: Some(setup.base.files.digest()?),
            batching: setup.batching(),
        };
        Ok(Self { setup, state, progress })
    }

    /// The run of `folder` behind its last checkpoint.
    pub(super) fn resumed(config: &Config, folder: &RunFolder, hub: &HubSettings) -> Result<Self> {
        let mut config = in_folder(config, folder);
        config.model.base = base_written_in(folder.dir(), &config.model.base);
        let mut progress = load_progress(&folder.last())?;
        if config.data.chat_template.is_of_base() {
            let files = locate_base(&config, hub)?.files;
            settle(&mut config, &files)?;
        }
        require_same_course(&mut config, folder, &progress)?;
        require_whole_steps(&config, folder, &progress)?;
        let mut setup = Setup::open(&config, hub)?;
        setup.go_on_with(progress.batching);
        let base = &setup.base.files;
        require_base(folder.dir(), progress.base.as_ref(), &base.digest()?, base.path())?;
        let mut state = OuterState::new(&setup.learner, &setup.outer, config.run.seed)?;
        let tensors = load_tensors(&folder.last(), &setup.decoder().device)?;
        state.load_named(&folder.last(), tensors)?;
        state.set_step(progress.step);
        progress.config = setup.config.to_toml()?;
        Ok(Self { setup, state, progress })
    }
}

fn in_folder(config: &Config, folder: &RunFolder) -> Config {
    let mut config = config.clone();
    folder.dir().clone_into(&mut config.run.dir);
    config
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

/// Refuses a configuration that would change the course of the run. The token that begins texts, the micro-batch and the
/// limit of memory are the run's own where nothing is said of them.
fn require_same_course(config: &mut Config, folder: &RunFolder, progress: &Progress) -> Result<()> {
    let mut saved = Config::from_checkpoint(&folder.last(), &progress.config)?;
    saved.model.base = base_written_in(folder.dir(), &saved.model.base);
    config.model.begin_token = config.model.begin_token.take().or_else(|| saved.model.begin_token.clone());
    if config.inner.micro_batch_segments == MicroBatch::Auto {
        config.inner.micro_batch_segments = saved.inner.micro_batch_segments;
    }
    config.outer.memory_gb = config.outer.memory_gb.or(saved.outer.memory_gb);
    let mut changed = config.differences(&saved);
    if progress.base.is_some() {
        // The base may have moved: its digest says whether it is the same.
        changed.retain(|difference| !difference.starts_with("model.base:"));
    }
    if changed.is_empty() {
        return Ok(());
    }
    let list = changed.join("\n  ");
    let reason = format!(
        "the run was started with another configuration:\n  {list}\nstart a new run for these, in another folder (--out)"
    );
    Err(Error::file(folder.dir(), reason))
}

fn require_whole_steps(config: &Config, folder: &RunFolder, progress: &Progress) -> Result<()> {
    let consumed = (progress.step as u64).checked_mul(config.outer.episodes_per_step as u64);
    if consumed == Some(progress.next_episode) {
        return Ok(());
    }
    let (step, next) = (progress.step, progress.next_episode);
    let reason = format!("damaged: step {step} cannot be followed by episode {next}");
    Err(Error::file(folder.last(), reason))
}
