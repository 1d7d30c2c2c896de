//! `perk.json`: what an adapter was made from and how.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::Digest;
use crate::config::{Activations, InnerConfig, LoraConfig, MatmulPrecision, MicroBatch, ModelConfig};
use crate::error::{Error, Result};
use crate::files::{parse_json, read_text};

/// Name of the record in an adapter's folder.
pub const RECORD_FILE: &str = "perk.json";

/// Version of the record's form; a file of another one is refused.
const FORMAT: u32 = 1;

/// Where an adapter came from, and how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this form.
    pub format: u32,
    /// Version of perk that wrote it.
    pub perk_version: String,
    /// Digest of base, checkpoint, context and recipe: adapters of one key are the same.
    pub key: Digest,
    /// The frozen base.
    pub base: BaseIdentity,
    /// The meta-trained start.
    pub checkpoint: CheckpointIdentity,
    /// What was memorised.
    pub context: ContextIdentity,
    /// How.
    pub recipe: Recipe,
    /// How well.
    pub losses: Losses,
    /// The adapter's files.
    pub adapter: Artifact,
    /// What it cost.
    pub cost: Cost,
}

/// The frozen base that an adapter belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseIdentity {
    /// Where it was found, and in which number type it was held.
    pub model: ModelConfig,
    /// Digest of its shape, tokenizer and weights, as [`BaseFiles::digest`](crate::model::BaseFiles::digest) has it.
    pub digest: Digest,
}

/// The start of the inner loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointIdentity {
    /// The checkpoint's folder; `None` where the start was not meta-trained.
    pub path: Option<PathBuf>,
    /// Outer steps that it was trained for.
    pub outer_steps: usize,
    /// Digest of what was learned.
    pub digest: Digest,
}

/// What was memorised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextIdentity {
    /// Names of the files that it came from.
    pub sources: Vec<String>,
    /// Digest of the documents.
    pub digest: Digest,
    /// Number of documents.
    pub documents: usize,
    /// Length of the documents, in bytes.
    pub bytes: usize,
    /// Length of the segments, in tokens, prefixes included.
    pub tokens: usize,
    /// Number of segments; the prompt of a question tells it to the model.
    pub segments: usize,
}

/// How a context becomes an adapter and a question becomes a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Form of the meta-trained adapter.
    pub lora: LoraConfig,
    /// The inner loop.
    pub inner: InnerConfig,
    /// Most tokens of a segment's text.
    pub segment_tokens: usize,
    /// Whether a segment may hold sentences of several documents.
    pub pack_documents: bool,
    /// Template of a question's prompt.
    pub prompt: String,
    /// What stands around that prompt for a chat model, with `{message}` in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// How answers are written where the facts behind them were a part of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningRecipe>,
    /// Longest answer that was asked for in training, in tokens.
    pub max_new_tokens: usize,
}

/// How an answer with the facts behind it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasoningRecipe {
    /// Template of the whole, with `{support}` and `{answer}`.
    pub form: String,
    /// What stands between two facts.
    pub separator: String,
}

/// Losses before every inner step, and after the last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Losses {
    /// The inner loss, token weights and all.
    pub inner: Vec<f64>,
    /// The plain next-token loss, in nats a token.
    pub cross_entropy: Vec<f64>,
}

/// Files of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Digest of PEFT's two files.
    pub digest: Digest,
    /// Their length, in bytes.
    pub bytes: u64,
}

/// What an encoding cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Seconds of the inner steps.
    pub inner_secs: f64,
    /// Context tokens over these seconds.
    pub tokens_per_sec: f64,
    /// The most memory held, in bytes.
    pub peak_bytes: Option<u64>,
}

impl Record {
    /// Key of an adapter: what its numbers and its prompts depend on.
    ///
    /// # Errors
    /// A recipe that cannot be written as JSON, as one with an infinite number.
    pub fn key(
        base: &Digest,
        checkpoint: &Digest,
        context: &Digest,
        recipe: &Recipe,
        begin_token: &str,
        model: &ModelConfig,
    ) -> Result<Digest> {
        let mut recipe = recipe.clone();
        // How work is laid out changes the adapter's last bits alone; what only training uses does not change it.
        recipe.inner.micro_batch_segments = MicroBatch::Segments(1);
        recipe.inner.activations = Activations::Keep;
        recipe.inner.differentiated = 0;
        recipe.max_new_tokens = 0;
        let recipe = serde_json::to_string(&recipe)
            .map_err(|fault| Error::Invalid(format!("the recipe cannot be written: {fault}")))?;
        let mut parts = vec![
            ("base", base.clone()),
            ("checkpoint", checkpoint.clone()),
            ("context", context.clone()),
            ("recipe", Digest::of_texts(&[recipe])),
        ];
        // Without one, adapters of older versions, which had none, keep their keys.
        if !begin_token.is_empty() {
            parts.push(("begin_token", Digest::of_texts(&[begin_token])));
        }
        let precision = model.matmul_precision;
        if precision != MatmulPrecision::default() {
            parts.push(("matmul_precision", Digest::of_texts(&[precision.to_string()])));
        }
        // Blocks that were made while loading are another base; the other types are roundings of one.
        if model.storage.quantises() {
            parts.push(("storage", Digest::of_texts(&[format!("{:?}", model.storage)])));
        }
        Ok(Digest::of_parts(parts))
    }

    /// This version's form.
    pub fn current_format() -> u32 {
        FORMAT
    }

    /// Reads the record of the adapter in `folder`.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of another version.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(RECORD_FILE);
        if !path.is_file() {
            let reason = format!("holds no {RECORD_FILE}: is this an adapter of perk encode?");
            return Err(Error::file(folder, reason));
        }
        let text = read_text(&path)?;
        let value: serde_json::Value = parse_json(&path, &text)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found == u64::from(FORMAT) => parse_json(&path, &text),
            Some(found) => {
                let reason = format!("has format {found}, and this version of perk reads {FORMAT}");
                Err(Error::file(&path, reason))
            }
            None => Err(Error::file(&path, "has no `format`: is this a record of perk encode?")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let digest = Digest::of_texts(&["x"]);
        Record {
            format: FORMAT,
            perk_version: String::new(),
            key: digest.clone(),
            base: BaseIdentity { model: ModelConfig::default(), digest: digest.clone() },
            checkpoint: CheckpointIdentity { path: None, outer_steps: 0, digest: digest.clone() },
            context: ContextIdentity {
                sources: Vec::new(),
                digest: digest.clone(),
                documents: 1,
                bytes: 1,
                tokens: 1,
                segments: 1,
            },
            recipe: Recipe {
                lora: LoraConfig::default(),
                inner: InnerConfig::default(),
                segment_tokens: 1,
                pack_documents: false,
                prompt: String::new(),
                chat_template: None,
                reasoning: Some(ReasoningRecipe { form: String::new(), separator: String::new() }),
                max_new_tokens: 1,
            },
            losses: Losses::default(),
            adapter: Artifact { digest, bytes: 1 },
            cost: Cost { inner_secs: 0.0, tokens_per_sec: 0.0, peak_bytes: None },
        }
    }

    #[test]
    fn an_entry_that_is_not_known_is_refused_by_name_wherever_it_is() {
        let room = tempfile::tempdir().unwrap();
        let good = serde_json::to_value(record()).unwrap();
        let mut places = vec![String::new()];
        let mut next = 0;
        while let Some(place) = places.get(next).cloned() {
            let inside = good.pointer(&place).and_then(serde_json::Value::as_object).unwrap();
            let objects = inside.iter().filter(|(_, value)| value.is_object());
            places.extend(objects.map(|(key, _)| format!("{place}/{key}")));
            next += 1;
        }
        assert_eq!(places.len(), 12, "{places:?}");
        for place in places {
            let mut changed = good.clone();
            changed.pointer_mut(&place).unwrap()["stranger\u{1b}"] = 1.into();
            std::fs::write(room.path().join(RECORD_FILE), changed.to_string()).unwrap();
            let message = Record::load(room.path()).unwrap_err().to_string();
            assert!(message.contains("unknown field `stranger\\u{1b}`"), "{place}: {message}");
        }
        std::fs::write(room.path().join(RECORD_FILE), good.to_string()).unwrap();
        assert_eq!(Record::load(room.path()).unwrap(), record());
    }
}
