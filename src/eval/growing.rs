//! An answer while it is being written.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::text::{Answer, AnswerForm, Closing, Tokenizer};

/// Takes a model's tokens one by one, and gives what a person may see of the answer as it grows: not the facts that lead
/// to it, nor what may become a mark of its form.
pub struct Growing<'a> {
    form: &'a AnswerForm,
    closing: Closing<'a>,
    shown: String,
    more: String,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// All that the model wrote, without white space around it.
    pub output: String,
    /// The same taken apart.
    pub answer: Answer,
    /// What of the answer was not given before.
    pub rest: String,
}

impl<'a> Growing<'a> {
    /// Before the first token.
    pub fn new(form: &'a AnswerForm, tokenizer: &'a Tokenizer) -> Self {
        Self { form, closing: Closing::new(form, tokenizer), shown: String::new(), more: String::new() }
    }

    /// Takes the next token; breaks where it completes the form.
    ///
    /// # Errors
    /// A token that cannot be decoded.
    pub fn push(&mut self, token: u32) -> Result<ControlFlow<()>> {
        let flow = self.closing.push(token)?;
        // A mark in an unusual place takes back what was shown: then the rest waits for the end.
        let shown = self.form.shown(self.closing.text());
        self.more = shown.strip_prefix(&self.shown).unwrap_or_default().to_owned();
        self.shown += &self.more;
        Ok(flow)
    }

    /// What the last token adds to the answer that a person sees.
    pub fn more(&self) -> &str {
        &self.more
    }

    /// The whole.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(self) -> Result<Grown> {
        let output = self.closing.finish()?.trim().to_owned();
        let answer = self.form.parse(&output);
        let rest = match answer.answer.strip_prefix(&self.shown) {
            // What might have become a mark was held back.
            Some(more) => more.to_owned(),
            None => format!("\n{}", answer.answer),
        };
        Ok(Grown { output, answer, rest })
    }
}
