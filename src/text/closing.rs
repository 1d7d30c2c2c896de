//! The end of a generation by its text.

use std::ops::ControlFlow;

use super::{AnswerForm, TextStream, Tokenizer};
use crate::Result;

/// Watches the tokens of an answer and ends it behind the last mark of its form. A model that was trained on the
/// form would only write its end token there; others go on.
pub struct Closing<'a> {
    form: &'a AnswerForm,
    stream: TextStream<'a>,
    text: String,
}

impl<'a> Closing<'a> {
    /// Before the first token.
    pub fn new(form: &'a AnswerForm, tokenizer: &'a Tokenizer) -> Self {
        Self { form, stream: tokenizer.stream(), text: String::new() }
    }

    /// Takes the next token; breaks where it completes the form.
    ///
    /// # Errors
    /// A token that cannot be decoded.
    pub fn push(&mut self, token: u32) -> Result<ControlFlow<()>> {
        let Some(piece) = self.stream.push(token)? else { return Ok(ControlFlow::Continue(())) };
        self.text += &piece;
        Ok(if self.form.is_closed(&self.text) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// The text so far, without an incomplete character at its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole text.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(self) -> Result<String> {
        Ok(self.text + &self.stream.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::word_level;

    #[test]
    fn an_answer_ends_behind_the_last_mark_of_its_form_and_nowhere_before() {
        let folder = tempfile::tempdir().unwrap();
        let text = "<support>Mary ran.</support>\n<output>kitchen</output> and more";
        word_level::save(folder.path(), [text]).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        let form = AnswerForm::default();
        let mut closing = Closing::new(&form, &tokenizer);
        let tokens = tokenizer.encode(text).unwrap();
        let broke = tokens.iter().position(|&token| closing.push(token).unwrap().is_break());
        let last = tokenizer.token_id("</output>").unwrap();
        assert_eq!(broke, tokens.iter().position(|&token| token == last));
        assert!(closing.text().ends_with("</output>"));
        assert_eq!(form.parse(&closing.finish().unwrap()).answer, "kitchen");
    }
}
