//! The start of the inner loop: a meta-trained checkpoint, or a configuration that was never trained.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    checkpoint::{Digest, PROGRESS_FILE, Progress, TENSORS_FILE, load_parameters, load_progress, recover},
    config::{Config, Objective},
    error::{Error, Result},
    meta::{MetaParams, OuterState},
    model::base_written_in,
    report::RunFolder,
    store::CheckpointIdentity,
};

use super::Setup;

const HOW_TO_GET_ONE: &str =
    "make one in a minute or two with `perk meta-train --config configs/quickstart.toml`";

const REPLACED: &str = "was replaced by its run while it was read: try again, or name checkpoints/best";
/// So often a checkpoint is read anew that its run has just replaced.
const TRIES: usize = 10;

/// What the inner loop starts from.
#[derive(Debug, Clone)]
pub struct InnerStart {
    /// The run's resolved configuration.
    pub config: Config,
    /// Where the numbers are, and which they are.
    pub identity: CheckpointIdentity,
    /// Digest of the base that it was trained on, where that is known.
    pub base: Option<Digest>,
}

impl InnerStart {
    /// The checkpoint in `path`, a run folder or one of its checkpoints.
    ///
    /// # Errors
    /// A folder that is neither, a damaged checkpoint, or one that its run replaces again and again.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = checkpoint_folder(path)?;
        let (progress, digest) = one_checkpoint(&folder)?;
        let mut config = Config::from_checkpoint(&folder.join(PROGRESS_FILE), &progress.config)?;
        config.model.base = base_written_in(&folder, &config.model.base);
        let identity = CheckpointIdentity { path: Some(folder), outer_steps: progress.step, digest };
        Ok(Self { config, identity, base: progress.base })
    }

    /// The checkpoint of the run in `runs` that was saved last.
    ///
    /// # Errors
    /// No run with a checkpoint there, or as [`InnerStart::open`].
    pub fn open_newest(runs: &Path) -> Result<Self> {
        let saved_at = |run: &Path| -> Option<SystemTime> {
            let last = RunFolder::open(run).ok()?.last();
            let progress = load_progress(&last).ok()?;
            let objective = Config::from_toml(&last, &progress.config).ok()?.outer.objective;
            // A fine-tuned adapter is no start of an inner loop, and one without a step has learned nothing yet.
            if objective != Objective::Perk || progress.step == 0 {
                return None;
            }
            fs::metadata(last.join(PROGRESS_FILE)).ok()?.modified().ok()
        };
        let entries = fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path());
        let newest = entries.filter_map(|run| Some((saved_at(&run)?, run))).max();
        match newest {
            Some((_, run)) => Self::open(&run),
            None => {
                let reason =
                    format!("holds no meta-trained run: {HOW_TO_GET_ONE}, or name one with --checkpoint");
                Err(Error::file(runs, reason))
            }
        }
    }

    /// Refuses a checkpoint that was trained for something else.
    ///
    /// # Errors
    /// Another objective.
    pub fn require(&self, objective: Objective) -> Result<()> {
        if self.config.outer.objective == objective {
            return Ok(());
        }
        let reason = match objective {
            Objective::Perk => {
                "was fine-tuned with the context in the prompt: an inner loop starts from a run of perk meta-train"
            }
            Objective::InContext => "is no fine-tuned adapter: make one with perk finetune",
        };
        let path = self.identity.path.as_deref().unwrap_or(Path::new("--untrained"));
        Err(Error::file(path, reason))
    }

    /// The start that meta-training with `config` would have: an adapter that has learned nothing yet.
    ///
    /// # Errors
    /// None for a configuration that was read from a file.
    pub fn untrained(config: Config) -> Result<Self> {
        let digest = Digest::of_texts(&["untrained".to_owned(), config.to_toml()?]);
        let identity = CheckpointIdentity { path: None, outer_steps: 0, digest };
        Ok(Self { config, identity, base: None })
    }

    /// The parameters, for the base that `setup` has loaded.
    ///
    /// # Errors
    /// A checkpoint that does not fit the base or the configuration, or that was replaced since it was opened.
    pub fn params(&self, setup: &Setup) -> Result<MetaParams> {
        let Some(folder) = &self.identity.path else {
            return OuterState::new(&setup.learner, &setup.outer, self.config.run.seed)?.params();
        };
        let tensors = load_parameters(folder, &setup.decoder().device)?;
        if Digest::of_file(&folder.join(TENSORS_FILE))? != self.identity.digest {
            return Err(Error::file(folder, REPLACED));
        }
        let parameterization = setup.outer.lr_parameterization;
        MetaParams::from_named(&folder.join(TENSORS_FILE), tensors, &setup.learner, parameterization)
    }
}

/// Progress and digest of a checkpoint, both of the same one: a run that goes on may replace it meanwhile.
fn one_checkpoint(folder: &Path) -> Result<(Progress, Digest)> {
    let mut progress = load_progress(folder)?;
    for _ in 0..TRIES {
        recover(folder)?;
        let digest = Digest::of_file(&folder.join(TENSORS_FILE))?;
        let now = load_progress(folder)?;
        if now == progress {
            return Ok((progress, digest));
        }
        progress = now;
    }
    Err(Error::file(folder, REPLACED))
}

/// Refuses to go on with `checkpoint` on another base than it was trained on, where that is known.
///
/// # Errors
/// `found`, the digest of the base in `folder`, is another one.
pub(super) fn require_base(
    checkpoint: &Path,
    trained_on: Option<&Digest>,
    found: &Digest,
    folder: &Path,
) -> Result<()> {
    match trained_on {
        Some(expected) if expected != found => {
            let reason = format!(
                "was trained on another base: it knows {}…, and {} is {}…",
                expected.short(),
                folder.display(),
                found.short()
            );
            Err(Error::file(checkpoint, reason))
        }
        _ => Ok(()),
    }
}

/// `path` itself, or the last checkpoint of the run in it.
fn checkpoint_folder(path: &Path) -> Result<PathBuf> {
    recover(path)?;
    if path.join(PROGRESS_FILE).is_file() {
        return Ok(path.to_owned());
    }
    match RunFolder::open(path) {
        Ok(run) => Ok(run.last()),
        Err(_) => {
            let reason =
                format!("is neither a run of perk meta-train nor one of its checkpoints: {HOW_TO_GET_ONE}");
            Err(Error::file(path, reason))
        }
    }
}
