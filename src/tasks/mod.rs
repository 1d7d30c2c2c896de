//! Episodes: context documents with questions, generated or read from files, and their tokens.
//!
//! A source gives its `i`-th episode as a pure function of seed and `i`, so that a run resumes from a number
//! alone. Training and held-out episodes draw from independent random streams and from disjoint background
//! sentences.

pub mod babi;
pub mod babi_world;
pub mod background;
pub(crate) mod built_in;
mod context;
mod encoder;
pub mod hide;
mod indexed;
pub mod jsonl;
mod position;
pub mod segment;
pub(crate) mod source;
pub(crate) mod stream;
pub mod student_records;
mod target;
pub mod world;

pub use context::{Context, ContextFormat};
pub use encoder::{EncodedEpisode, Encoder, count_tokens};
pub use indexed::indexed;
pub use position::Position;
pub use source::{Contexts, open, open_contexts};

use crate::Result;

/// A question about a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qa {
    /// The question.
    pub question: String,
    /// The answers that count as right, at least one; the first is the one that is trained on and shown.
    pub answers: Vec<String>,
    /// The sentences of the context that give the answer, in the order of the reasoning; may be empty.
    pub support: Vec<String>,
}

impl Qa {
    /// A question of one answer.
    pub fn new(question: impl Into<String>, answer: impl Into<String>, support: Vec<String>) -> Self {
        Self { question: question.into(), answers: vec![answer.into()], support }
    }

    /// The answer to train on and to show.
    pub fn answer(&self) -> &str {
        self.answers.first().map_or("", String::as_str)
    }
}

/// A context and questions about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// For messages: `qa1 #17`, `file.jsonl:3`.
    pub name: String,
    /// The context.
    pub documents: Vec<String>,
    /// The sentences of the context that tell something which may be asked, where they are known; all others are background.
    pub facts: Vec<String>,
    /// Questions, at least one.
    pub qa: Vec<Qa>,
}

/// Episodes by number; `episode` is a pure function of the source's seed and the index.
pub trait EpisodeSource: Send + Sync {
    /// Number of different episodes; `None` where they never end.
    fn len(&self) -> Option<u64>;

    /// Whether there is no episode at all. Sources refuse to open empty.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The episode of this index. A finite training source starts over in a new order after its last one.
    ///
    /// # Errors
    /// If the index is beyond a held-out source's end, or the episode cannot be made.
    fn episode(&self, index: u64) -> Result<Episode>;
}

/// Which part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For evaluation, never trained on.
    HeldOut,
}
