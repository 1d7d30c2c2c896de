//! Encoding: the inner loop of PERK (section 3.1) writes a context into an adapter, which is stored.

mod learn;

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::{Batching, Digest, Lock, recover},
    config::{Config, InnerConfig, MicroBatch, Objective},
    error::{Error, Result},
    meta::LossValue,
    model::{HubSettings, Located},
    report::peak_bytes,
    store::{
        Artifact, BaseIdentity, CheckpointIdentity, ContextIdentity, Cost, ReasoningRecipe, Recipe, Record,
        Store, StoredAdapter,
    },
    tasks::Context,
    text::Sequence,
};

use super::{
    Compute, InnerStart, Setup,
    inner_start::require_base,
    setup::{locate_base, settle},
};
use learn::{Learned, learn};

/// Letters of a context's name in the name of its adapter; file systems have a limit.
const LONGEST_STEM: usize = 80;

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

/// Told how an encoding goes on.
pub type Watch<'a> = &'a mut dyn FnMut(&EncodeEvent<'_>);

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
/// Memory is bounded by the base and one micro-batch, whatever the length of the context.
///
/// # Errors
/// A checkpoint, base or context that cannot be used; a folder that holds something else, or that another
/// process is writing; a file that cannot be written. Nothing is written then.
pub fn encode(
    start: &InnerStart,
    changes: &Changes,
    context: &Context,
    to: &Destination,
    hub: &HubSettings,
    watch: Watch<'_>,
) -> Result<Encoded> {
    // A folder that was named is reserved before the base is read.
    let named = to.out.as_deref().map(Lock::take).transpose()?;
    let job = Job::new(start, changes, context, hub)?;
    let dir = job.folder(context, to)?;
    let _lock = named.map_or_else(|| Lock::take(&dir), Ok)?;
    if let Some(stored) = reusable(&dir, &job.key, to.force, watch)? {
        return Ok(Encoded { stored, reused: true, setup: None });
    }
    let setup = Setup::open(&job.config, hub)?;
    let at_once = |batching: Batching| {
        format!("computing at once, at most: segments {}", batching.micro_batch_segments)
    };
    for note in setup.notes.iter().cloned().chain(setup.batching().map(at_once)) {
        watch(&EncodeEvent::Note(note));
    }
    let params = job.start.params(&setup)?;
    let segments = job.segments(&setup, context)?;
    let (adapter, learned) = learn(&setup, &params, &segments, &job.start.identity, watch)?;
    let record = job.record(context, &segments, learned);
    let stored = StoredAdapter::write(&dir, &adapter, record)?;
    Ok(Encoded { stored, reused: false, setup: Some(setup) })
}

/// Everything that is known before the base is loaded.
pub(super) struct Job<'a> {
    pub(super) start: &'a InnerStart,
    /// The checkpoint's, with changes.
    pub(super) config: Config,
    recipe: Recipe,
    base: Digest,
    context: Digest,
    pub(super) key: Digest,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        start: &'a InnerStart,
        changes: &Changes,
        context: &Context,
        hub: &HubSettings,
    ) -> Result<Self> {
        start.require(Objective::Perk)?;
        let mut config = changed(start, changes)?;
        let Located { files, place } = locate_base(&config, hub)?;
        config.model.base = place.to_string();
        let base = files.digest()?;
        let checkpoint = start.identity.path.as_deref().unwrap_or(Path::new("the start"));
        require_base(checkpoint, start.base.as_ref(), &base, files.path())?;
        // A configuration that leaves nothing to the base needs no look at its tokenizer yet.
        if config.model.begin_token.is_none() || config.data.chat_template.is_of_base() {
            settle(&mut config, &files)?;
        }
        let begin_token = config.model.begin_token.clone().unwrap_or_default();
        let target = &config.data.target;
        let recipe = Recipe {
            lora: config.lora.clone(),
            inner: config.inner.clone(),
            segment_tokens: config.data.segment_tokens,
            pack_documents: config.data.pack_documents,
            prompt: config.data.prompt.clone(),
            chat_template: config.data.chat_template.form()?.map(|form| form.to_string()),
            reasoning: target.is_reasoning().then(|| ReasoningRecipe {
                form: target.reasoning_form.clone(),
                separator: target.support_separator.clone(),
            }),
            max_new_tokens: config.eval.max_new_tokens,
        };
        let context = Digest::of_texts(&context.documents);
        let key = Record::key(&base, &start.identity.digest, &context, &recipe, &begin_token, &config.model)?;
        Ok(Self { start, config, recipe, base, context, key })
    }

    /// Where the adapter goes: as asked for, or where the store has the same one, or a new name there.
    fn folder(&self, context: &Context, to: &Destination) -> Result<PathBuf> {
        if let Some(out) = &to.out {
            return Ok(out.clone());
        }
        let store = Store::new(&to.store);
        let stored = if store.is_there() { store.list()? } else { Vec::new() };
        let same =
            stored.into_iter().filter_map(|(_, stored)| stored.ok()).find(|s| s.record.key == self.key);
        Ok(same.map_or_else(|| to.store.join(self.name(context)), |stored| stored.dir))
    }

    /// `story-6437b3ac3846`
    fn name(&self, context: &Context) -> String {
        let source = context.sources.first().map_or(Path::new("context"), Path::new);
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
        let stem: String = stem.chars().map(plain).take(LONGEST_STEM).collect();
        let stem = stem.trim_matches('-');
        format!("{}-{}", if stem.is_empty() { "context" } else { stem }, self.key.short())
    }

    pub(super) fn segments(&self, setup: &Setup, context: &Context) -> Result<Vec<Sequence>> {
        let segments = setup.encoder.context(&context.documents)?;
        let wanted = self.config.data.segment_tokens;
        let found: usize = segments.iter().map(Sequence::predicted).sum();
        if found < wanted {
            return Err(Error::Invalid(format!(
                "the context has {found} tokens, fewer than one segment ({wanted}): a text this short fits in the \
                 prompt (perk ask --in-context); to encode it all the same, give --segment-tokens {}",
                found.max(1)
            )));
        }
        Ok(segments)
    }

    fn record(&self, context: &Context, segments: &[Sequence], learned: Learned) -> Record {
        let (tokens, micro_batch) = (count(segments), MicroBatch::Segments(learned.micro_batch_segments));
        let inner = InnerConfig { micro_batch_segments: micro_batch, ..self.recipe.inner.clone() };
        Record {
            format: Record::current_format(),
            perk_version: env!("CARGO_PKG_VERSION").to_owned(),
            key: self.key.clone(),
            base: BaseIdentity { model: self.config.model.clone(), digest: self.base.clone() },
            checkpoint: self.start.identity.clone(),
            context: ContextIdentity {
                sources: context.sources.clone(),
                digest: self.context.clone(),
                documents: context.documents.len(),
                bytes: context.bytes(),
                tokens,
                segments: segments.len(),
            },
            recipe: Recipe { inner, ..self.recipe.clone() },
            losses: learned.losses,
            // Filled in when the files are there.
            adapter: Artifact { digest: self.key.clone(), bytes: 0 },
            cost: Cost {
                inner_secs: learned.inner_secs,
                tokens_per_sec: tokens as f64 / learned.inner_secs,
                peak_bytes: peak_bytes(),
            },
        }
    }
}

/// The checkpoint's configuration with what was asked for.
fn changed(start: &InnerStart, changes: &Changes) -> Result<Config> {
    let mut config = start.config.clone();
    if let Some(steps) = changes.steps {
        config.inner.steps = steps;
        config.inner.differentiated = config.inner.differentiated.min(steps);
    }
    if let Some(segments) = changes.micro_batch {
        config.inner.micro_batch_segments = segments;
    }
    if let Some(tokens) = changes.segment_tokens {
        config.data.segment_tokens = tokens;
    }
    if let Some(base) = &changes.base {
        config.model.base.clone_from(base);
    }
    changes.compute.apply(&mut config.model, &mut config.run);
    let mut faults = Vec::new();
    config.validate(&mut faults);
    let path = start.identity.path.clone().unwrap_or_default();
    if faults.is_empty() { Ok(config) } else { Err(Error::Config { path, faults }) }
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
            watch(&EncodeEvent::Note(format!("encoding again: {fault}")));
            Ok(None)
        }
    }
}

fn count(segments: &[Sequence]) -> usize {
    segments.iter().map(|segment| segment.tokens.len()).sum()
}
