//! Text and tokens: tokenizers, sentences, and token sequences of which a part is predicted.

mod answer;
mod chat;
mod closing;
mod controls;
mod files;
mod from_gguf;
mod marks;
mod prompt;
pub mod sentences;
mod stop_strings;
pub mod stream;
pub mod template;
mod to_gguf;
pub mod tokenizer;
pub mod word_level;

pub use answer::{Answer, AnswerForm, split_facts};
pub use chat::{CHAT_TEMPLATE_FILE, Chat, ChatForm, chat_template};
pub use closing::Closing;
pub use files::{Beside, TokenizerFiles};
pub use prompt::Prompt;
pub use stop_strings::StopStrings;
pub use stream::TextStream;
pub use template::Template;
pub use to_gguf::{marks_to_gguf, tokenizer_to_gguf};
pub use tokenizer::Tokenizer;
pub use word_level::{TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};

/// Tokens, of which those from `loss_from` on are predicted; the earlier ones are only read.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sequence {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Index of the first predicted token.
    pub loss_from: usize,
    /// What the loss of each token from `loss_from` on counts, as many as there are; `None` where all count 1.
    pub weights: Option<Vec<f64>>,
}

impl Sequence {
    /// A sequence whose predicted tokens all count the same.
    pub fn new(tokens: Vec<u32>, loss_from: usize) -> Self {
        Self { tokens, loss_from, weights: None }
    }

    /// What the loss of each predicted token counts.
    pub fn predicted_weights(&self) -> impl Iterator<Item = f64> {
        let weight = |place: usize| self.weights.as_ref().map_or(1.0, |weights| weights[place]);
        let first = self.tokens.len().min(self.loss_from.max(1));
        (first..self.tokens.len()).map(move |index| weight(index - self.loss_from))
    }

    /// Number of predicted tokens; the first token has nothing before it to be predicted from.
    pub fn predicted(&self) -> usize {
        self.tokens.len().saturating_sub(self.loss_from.max(1))
    }
}
