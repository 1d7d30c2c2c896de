//! Text and tokens: tokenizers, sentences, and token sequences of which a part is predicted.

mod answer;
pub mod sentences;
pub mod stream;
pub mod template;
pub mod tokenizer;
pub mod word_level;

pub use answer::Answer;
pub use stream::TextStream;
pub use template::Template;
pub use tokenizer::Tokenizer;

/// Tokens, of which those from `loss_from` on are predicted; the earlier ones are only read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sequence {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Index of the first predicted token.
    pub loss_from: usize,
}

impl Sequence {
    /// Number of predicted tokens; the first token has nothing before it to be predicted from.
    pub fn predicted(&self) -> usize {
        self.tokens.len().saturating_sub(self.loss_from.max(1))
    }
}
