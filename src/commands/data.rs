//! `perk data`: the episodes of a configuration, as its model sees them and as JSON lines.

use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::{
    checkpoint::{Lock, write_file},
    config::{Config, Objective},
    error::{Error, Result},
    model::HubSettings,
    tasks::{self, Encoder, Episode, EpisodeSource, Qa, Split},
    text::{Sequence, Tokenizer},
};

use super::setup::{locate_base, tokenizer};

/// Episodes and their tokens; the base's weights are not read.
pub struct Data {
    source: Box<dyn EpisodeSource>,
    encoder: Encoder,
    objective: Objective,
    split: Split,
}

/// An episode in tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpisodePreview {
    /// The episode's name.
    pub name: String,
    /// Its index in its source.
    pub index: u64,
    /// Tokens of all segments with their prefixes.
    pub context_tokens: usize,
    /// What the inner loop reads.
    pub segments: Vec<SequencePreview>,
    /// What the outer loss is taken of, one a question.
    pub queries: Vec<SequencePreview>,
}

/// A sequence in tokens: first what is only read, then what is predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SequencePreview {
    /// The text that is read, control tokens included.
    pub read: String,
    /// The text that is predicted, end token included.
    pub predicted: String,
    /// All of its tokens.
    pub tokens: Vec<TokenPreview>,
}

/// A token of a sequence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenPreview {
    /// Its number.
    pub id: u32,
    /// As the vocabulary writes it.
    pub piece: String,
    /// What its prediction counts in the loss; 0 where it is only read.
    pub weight: f64,
}

impl Data {
    /// Opens one part of a configuration's episodes, with contexts of `multiple` times the configured length.
    ///
    /// # Errors
    /// A base without a tokenizer, data that cannot be read.
    pub fn open(config: &Config, split: Split, multiple: usize, hub: &HubSettings) -> Result<Self> {
        let tokenizer = tokenizer(&config.model, &locate_base(config, hub)?.files)?;
        let source = tasks::open(&config.data, &tokenizer, split, multiple, config.run.seed)?;
        let encoder = Encoder::new(&config.data, tokenizer, config.run.seed)?;
        Ok(Self { source, encoder, objective: config.outer.objective, split })
    }

    /// How many episodes there are; `None` if they never end.
    pub fn len(&self) -> Option<u64> {
        self.source.len()
    }

    /// Whether there is no episode.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// An episode as the model sees it.
    ///
    /// # Errors
    /// An episode that is not there or cannot be encoded.
    pub fn preview(&self, index: u64) -> Result<EpisodePreview> {
        let episode = self.source.episode(index)?;
        let encoded = self.encoder.encode(&episode, index, self.split, self.objective)?;
        let all = |sequences: &[Sequence]| -> Result<Vec<SequencePreview>> {
            sequences.iter().map(|sequence| preview(sequence, self.encoder.tokenizer())).collect()
        };
        Ok(EpisodePreview {
            name: episode.name,
            index,
            context_tokens: encoded.context_tokens,
            segments: all(&encoded.segments)?,
            queries: all(&encoded.queries)?,
        })
    }

    /// Writes the first `count` episodes to `path`, one a line, in the form of `data.files`.
    ///
    /// # Errors
    /// An episode that cannot be made, a file that cannot be written.
    pub fn write(&self, count: u64, path: &Path) -> Result<()> {
        let _lock = Lock::take(path)?;
        let mut lines = String::new();
        for index in 0..count {
            lines += &line(&self.source.episode(index)?);
            lines.push('\n');
        }
        write_file(path, |out| out.write_all(lines.as_bytes()).map_err(|fault| Error::io(path, fault)))
    }
}

fn preview(sequence: &Sequence, tokenizer: &Tokenizer) -> Result<SequencePreview> {
    let (read, predicted) = sequence.tokens.split_at(sequence.loss_from);
    let weights = std::iter::repeat_n(0.0, read.len()).chain(sequence.predicted_weights());
    let token = |(&id, weight): (&u32, f64)| TokenPreview { id, piece: tokenizer.piece(id), weight };
    Ok(SequencePreview {
        read: tokenizer.decode_all(read)?,
        predicted: tokenizer.decode_all(predicted)?,
        tokens: sequence.tokens.iter().zip(weights).map(token).collect(),
    })
}

/// An episode as a line of JSON, without the line break.
fn line(episode: &Episode) -> String {
    let qa = |qa: &Qa| match qa.answers.as_slice() {
        [answer] => json!({ "question": qa.question, "answer": answer, "support": qa.support }),
        answers => json!({ "question": qa.question, "answer": answers, "support": qa.support }),
    };
    let qa: Vec<_> = episode.qa.iter().map(qa).collect();
    json!({ "id": episode.name, "context": episode.documents, "qa": qa }).to_string()
}
