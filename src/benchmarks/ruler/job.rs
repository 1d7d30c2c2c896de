//! What one sample is made from, and what is made of it.

use rand_chacha::ChaCha8Rng;

use super::Task;
use super::fill::Room;
use super::prompt::Prompt;
use crate::tasks::Split;
use crate::tasks::background::Background;
use crate::tasks::stream::{Purpose, hash, stream};
use crate::text::Tokenizer;

/// What one sample is made from.
pub(super) struct Job<'a> {
    /// Tokens of prompt and answer together.
    pub(super) length_tokens: usize,
    /// The part of them that the prompt has.
    pub(super) room: Room<'a>,
    pub(super) background: &'a Background,
    pub(super) streams: Streams,
}

/// A sample but for its name.
pub(super) struct Made {
    pub(super) prompt: Prompt,
    pub(super) answers: Vec<String>,
    /// The lines of the haystack that decide them, in the order of the reasoning; empty where it is all of them.
    pub(super) support: Vec<String>,
}

/// The random streams of a sample. None of them depends on the length, so that a longer haystack asks the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    seed: u64,
    index: u64,
}

impl<'a> Job<'a> {
    /// `name` is the sample's in messages.
    pub(super) fn new(
        name: String,
        task: &Task,
        length_tokens: usize,
        tokenizer: &'a Tokenizer,
        background: &'a Background,
        seed: u64,
        index: u64,
    ) -> Self {
        let room = Room { name, tokenizer, tokens: length_tokens, answer_tokens: task.answer_tokens };
        let streams = Streams { seed: seed ^ hash(task.name), index };
        Self { length_tokens, room, background, streams }
    }
}

impl Streams {
    /// What is asked for.
    pub(super) fn facts(self) -> ChaCha8Rng {
        stream(self.seed, Split::HeldOut, Purpose::Facts, self.index)
    }

    /// What it is hidden in.
    pub(super) fn haystack(self) -> ChaCha8Rng {
        stream(self.seed, Split::HeldOut, Purpose::Background, self.index)
    }

    /// Where it is hidden.
    pub(super) fn places(self) -> ChaCha8Rng {
        stream(self.seed, Split::HeldOut, Purpose::Order, self.index)
    }

    /// The streams of the solved example in the prompt.
    pub(super) fn of_example(self) -> Self {
        Self { seed: self.seed ^ hash("example"), ..self }
    }
}
