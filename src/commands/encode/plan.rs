//! What an encoding is decided by before its base is loaded: settings, recipe, digests, and the name of what comes out.

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::Digest,
    config::{Config, InnerConfig, MicroBatch, Objective},
    error::{Error, Result},
    model::{HubSettings, Located},
    report::peak_bytes,
    store::{Artifact, BaseIdentity, ContextIdentity, Cost, ReasoningRecipe, Recipe, Record, Store},
    tasks::Context,
    text::Sequence,
};

use super::learn::Learned;
use super::{Changes, Destination, InnerStart, Setup, count};
use crate::commands::{
    inner_start::require_base,
    setup::{locate_base, settle},
};

/// Letters of a context's name in the name of its adapter; file systems have a limit.
const LONGEST_STEM: usize = 80;

/// How contexts are encoded from one start.
pub(in crate::commands) struct Plan {
    pub(in crate::commands) start: InnerStart,
    /// The checkpoint's, with changes.
    pub(in crate::commands) config: Config,
    recipe: Recipe,
    /// Digest of the base.
    pub(in crate::commands) base: Digest,
}

impl Plan {
    /// # Errors
    /// A checkpoint or a base that cannot be used, or changes that do not fit it.
    pub(in crate::commands) fn new(start: &InnerStart, changes: &Changes, hub: &HubSettings) -> Result<Self> {
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
        Ok(Self { start: start.clone(), config, recipe, base })
    }

    /// Which adapter comes of `context`.
    ///
    /// # Errors
    /// A recipe that cannot be written.
    pub(in crate::commands) fn key(&self, context: &Context) -> Result<Digest> {
        let begin_token = self.config.model.begin_token.clone().unwrap_or_default();
        let (checkpoint, context) = (&self.start.identity.digest, Digest::of_texts(&context.documents));
        Record::key(&self.base, checkpoint, &context, &self.recipe, &begin_token, &self.config.model)
    }

    /// Where the adapter of `key` goes: as asked for, or where the store has the same one, or a new name there.
    pub(super) fn folder(&self, key: &Digest, context: &Context, to: &Destination) -> Result<PathBuf> {
        if let Some(out) = &to.out {
            return Ok(out.clone());
        }
        let same = Store::new(&to.store).with_key(key)?;
        Ok(same.map_or_else(|| to.store.join(name(key, context)), |stored| stored.dir))
    }

    /// The context as the inner loop reads it.
    ///
    /// # Errors
    /// A context that is shorter than one segment.
    pub(in crate::commands) fn segments(&self, setup: &Setup, context: &Context) -> Result<Vec<Sequence>> {
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

    /// What is said of the adapter of `key` in its folder.
    pub(super) fn record(
        &self,
        key: &Digest,
        context: &Context,
        segments: &[Sequence],
        learned: Learned,
    ) -> Record {
        let (tokens, micro_batch) = (count(segments), MicroBatch::Segments(learned.micro_batch_segments));
        let inner = InnerConfig { micro_batch_segments: micro_batch, ..self.recipe.inner.clone() };
        Record {
            format: Record::current_format(),
            perk_version: env!("CARGO_PKG_VERSION").to_owned(),
            key: key.clone(),
            base: BaseIdentity { model: self.config.model.clone(), digest: self.base.clone() },
            checkpoint: self.start.identity.clone(),
            context: ContextIdentity {
                sources: context.sources.clone(),
                digest: Digest::of_texts(&context.documents),
                documents: context.documents.len(),
                bytes: context.bytes(),
                tokens,
                segments: segments.len(),
            },
            recipe: Recipe { inner, ..self.recipe.clone() },
            losses: learned.losses,
            // Filled in when the files are there.
            adapter: Artifact { digest: key.clone(), bytes: 0 },
            cost: Cost {
                inner_secs: learned.inner_secs,
                tokens_per_sec: tokens as f64 / learned.inner_secs,
                peak_bytes: peak_bytes(),
            },
        }
    }
}

/// `story-6437b3ac3846`
pub(super) fn name(key: &Digest, context: &Context) -> String {
    let source = context.sources.first().map_or(Path::new("context"), Path::new);
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let stem: String = stem.chars().map(plain).take(LONGEST_STEM).collect();
    let stem = stem.trim_matches('-');
    format!("{}-{}", if stem.is_empty() { "context" } else { stem }, key.short())
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
