//! What a model replied to a question.

use serde::Serialize;

/// An answer, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reply {
    /// What was concluded, without the facts and the marks around it.
    pub answer: String,
    /// The facts that it recalled, where it names any.
    pub support: Option<Vec<String>>,
    /// All that the model wrote, without white space around it.
    pub output: String,
    /// The tokens that the model wrote, without the one that ended it.
    pub token_ids: Vec<u32>,
    /// Number of these tokens.
    pub tokens: usize,
    /// Whether the model ended the answer itself, before the limit.
    pub ended: bool,
    /// Whether an answer that was to recall its facts lacks a mark of its form, as one that was cut short does.
    pub malformed: bool,
    /// Length of the prompt, in tokens.
    pub prompt_tokens: usize,
    /// Seconds from the question to the first token.
    pub first_token_secs: f64,
    /// Seconds from the question to the last token; of questions that were answered side by side, to the last token of
    /// all of them, divided by their number.
    pub secs: f64,
}
