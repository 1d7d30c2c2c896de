//! Encoding: the inner loop of PERK (section 3.1) writes a context into an adapter, which is stored.

mod learn;
mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{
    checkpoint::{Batching, Digest, Lock, recover},
    config::{Config, MicroBatch},
    error::{Error, Result},
    meta::{LossValue, MetaParams},
    model::HubSettings,
    ranks::{Ranks, alone},
    store::{CheckpointIdentity, StoredAdapter},
    tasks::Context,
    text::Sequence,
};

use super::{Compute, InnerStart, Setup};
use learn::{attempt, learn};
pub(super) use plan::Plan;

/// What a person may change of a checkpoint's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Inner steps.
    pub steps: Option<usize>,
    /// Segments computed at once.
    pub micro_batch: Option<MicroBatch>,
    /// Most tokens of a segment's text.
    pub segment_tokens: Option<usize>,
    /// Where the checkpoint's base is, if not where it was.
    pub base: Option<String>,
    /// Where and how exactly to compute, whatever the checkpoint was trained on.
    pub compute: Compute,
}

/// Where an adapter goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its folder; without one, the same adapter's in `store`, or a name there of the context's name and key.
    pub out: Option<PathBuf>,
    /// The folder of encoded contexts.
    pub store: PathBuf,
    /// Whether an adapter that is there already is made again, or replaced.
    pub force: bool,
}

/// How an encoding goes on.
#[derive(Debug)]
pub enum EncodeEvent<'a> {
    /// The context is cut and the inner loop begins.
    Begun {
        /// The start of the inner loop.
        checkpoint: &'a CheckpointIdentity,
        /// Length of the segments, in tokens, prefixes included.
        tokens: usize,
        /// Number of segments.
        segments: usize,
        /// Inner steps to take.
        steps: usize,
    },
    /// Part of a step is done, or of the last loss where `step` is the number of steps.
    Progress {
        /// The step, from 0.
        step: usize,
        /// Share of it that is done, 0 to 1.
        share: f64,
    },
    /// An inner step is done.
    Step {
        /// The step, from 0.
        step: usize,
        /// The loss before it.
        before: LossValue,
        /// Context tokens over the seconds that it took.
        tokens_per_sec: f64,
    },
    /// Anything else a person may want to know.
    Note(String),
}

/// Told how an encoding goes on, which an error stops.
pub type Watch<'a> = &'a mut dyn FnMut(&EncodeEvent<'_>) -> Result<()>;

/// An encoded context.
#[derive(Debug)]
pub struct Encoded {
    /// Where it is.
    pub stored: StoredAdapter,
    /// Whether it was there already.
    pub reused: bool,
    /// The base, if it was loaded.
    pub setup: Option<Setup>,
}

/// Writes `context` into an adapter and stores it, unless the same adapter is there already.
///
/// Memory is bounded by the base and one micro-batch, whatever the length of the context. This is rank 0 of `ranks`, which
/// share the segments; the others [follow](super::follow).
///
/// # Errors
/// A checkpoint, base or context that cannot be used; a folder that holds something else, or that another
/// process is writing; a file that cannot be written; what `watch` returns. Nothing is written then.
pub fn encode(
    start: &InnerStart,
    changes: &Changes,
    context: &Context,
    to: &Destination,
    hub: &HubSettings,
    ranks: &Arc<dyn Ranks>,
    watch: Watch<'_>,
) -> Result<Encoded> {
    // A folder that was named is reserved before the base is read.
    let named = to.out.as_deref().map(Lock::take).transpose()?;
    let plan = Plan::new(start, changes, hub)?;
    let key = plan.key(context)?;
    let dir = plan.folder(&key, context, to)?;
    let _lock = named.map_or_else(|| Lock::take(&dir), Ok)?;
    if let Some(stored) = reusable(&dir, &key, to.force, watch)? {
        return Ok(Encoded { stored, reused: true, setup: None });
    }
    let setup = Setup::open(&plan.config, hub)?;
    let at_once = |batching: Batching| {
        format!("computing at once, at most: segments {}", batching.micro_batch_segments)
    };
    for note in setup.notes.iter().cloned().chain(setup.batching().map(at_once)) {
        watch(&EncodeEvent::Note(note))?;
    }
    let params = plan.start.params(&setup)?;
    let stored = write(&plan, &setup, &params, (context, &key, &dir), ranks, watch)?;
    Ok(Encoded { stored, reused: false, setup: Some(setup) })
}

/// A start with its base in memory, which encodes one context after the other.
pub struct OpenStart {
    plan: Plan,
    setup: Setup,
    params: MetaParams,
}

impl OpenStart {
    /// Loads the base.
    ///
    /// # Errors
    /// A checkpoint or a base that cannot be used.
    pub fn new(start: &InnerStart, changes: &Changes, hub: &HubSettings) -> Result<Self> {
        let plan = Plan::new(start, changes, hub)?;
        let setup = Setup::open(&plan.config, hub)?;
        let params = plan.start.params(&setup)?;
        Ok(Self { plan, setup, params })
    }

    /// The base, its tokenizer and the settings.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Digest of the base.
    pub fn base(&self) -> &Digest {
        &self.plan.base
    }

    /// Which adapter comes of `context`: that of the same key in a store is the same.
    ///
    /// # Errors
    /// A recipe that cannot be written.
    pub fn key(&self, context: &Context) -> Result<Digest> {
        self.plan.key(context)
    }

    /// The name that the adapter of `key` gets in a store.
    pub fn name(&self, key: &Digest, context: &Context) -> String {
        plan::name(key, context)
    }

    /// How many tokens the segments of `context` have, prefixes included.
    ///
    /// # Errors
    /// A context that is shorter than one segment, or that the tokenizer cannot read.
    pub fn tokens(&self, context: &Context) -> Result<usize> {
        Ok(count(&self.plan.segments(&self.setup, context)?))
    }

    /// As [`encode`], on the base that is loaded.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn encode(&self, context: &Context, to: &Destination, watch: Watch<'_>) -> Result<StoredAdapter> {
        let key = self.plan.key(context)?;
        let dir = self.plan.folder(&key, context, to)?;
        let _lock = Lock::take(&dir)?;
        match reusable(&dir, &key, to.force, watch)? {
            Some(stored) => Ok(stored),
            None => write(&self.plan, &self.setup, &self.params, (context, &key, &dir), &alone(), watch),
        }
    }
}

/// Takes this rank's share of an encoding by rank 0, of which it keeps nothing.
///
/// # Errors
/// As [`encode`], of any rank.
pub(super) fn follow(
    ranks: &Arc<dyn Ranks>,
    config: &str,
    start: CheckpointIdentity,
    segments: &[Sequence],
    at_once: usize,
    hub: &HubSettings,
) -> Result<()> {
    let config = Config::from_toml(Path::new("the configuration of rank 0"), config)?;
    let setup = Setup::open(&config, hub)?;
    let params = InnerStart { config, identity: start, base: None }.params(&setup)?;
    let learner = setup.learner.with_micro_batch(at_once);
    attempt(&learner, &params, segments, ranks, &mut |_| Ok(())).map(drop)
}

/// Learns `context` and writes the adapter to `dir`.
fn write(
    plan: &Plan,
    setup: &Setup,
    params: &MetaParams,
    (context, key, dir): (&Context, &Digest, &Path),
    ranks: &Arc<dyn Ranks>,
    watch: Watch<'_>,
) -> Result<StoredAdapter> {
    let segments = plan.segments(setup, context)?;
    let (adapter, learned) = learn(setup, params, &segments, &plan.start.identity, ranks, watch)?;
    StoredAdapter::write(dir, &adapter, plan.record(key, context, &segments, learned))
}

/// The adapter in `dir`, if it is the one that would be made; an error if something else is in the way.
fn reusable(dir: &Path, key: &Digest, force: bool, watch: Watch<'_>) -> Result<Option<StoredAdapter>> {
    recover(dir)?;
    let is_empty = std::fs::read_dir(dir).map_or(!dir.exists(), |mut entries| entries.next().is_none());
    if is_empty {
        return Ok(None);
    }
    if !dir.join(crate::store::RECORD_FILE).is_file() {
        return Err(Error::file(dir, "exists and is no adapter of perk encode: name another folder"));
    }
    if force {
        return Ok(None);
    }
    let hint = "name another folder, or replace it with --force";
    let stored = StoredAdapter::open(dir).map_err(|fault| Error::Invalid(format!("{fault}; {hint}")))?;
    if stored.record.key != *key {
        let reason = format!("holds another adapter (other context, checkpoint, base or settings): {hint}");
        return Err(Error::file(dir, reason));
    }
    match stored.verify() {
        Ok(()) => Ok(Some(stored)),
        Err(fault) => {
            watch(&EncodeEvent::Note(format!("encoding again: {fault}")))?;
            Ok(None)
        }
    }
}

fn count(segments: &[Sequence]) -> usize {
    segments.iter().map(|segment| segment.tokens.len()).sum()
}
