//! The text of a query: prompt and answer from a template.

use super::ChatForm;
use super::prompt::{Part, Prompt};

/// A query's text with places for the number of documents, the question and the answer. Control tokens of the base,
/// as chat models have them, may stand in it, and are meant as such; in what is put in they are words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    prompt: String,
    gap: String,
    /// What stands around the prompt, if it is a message to a chat model.
    chat: Option<ChatForm>,
}

impl Template {
    /// Takes a template apart. It holds `{question}`, may hold `{documents}`, and ends in `{answer}`.
    ///
    /// White space before `{answer}` goes to the answer: tokenizers join a space to the word after it, so
    /// that the prompt's tokens are the same with and without the answer.
    ///
    /// # Errors
    /// What is wrong with the template, in words.
    pub fn parse(template: &str) -> Result<Self, String> {
        let Some(before) = template.strip_suffix("{answer}") else {
            return Err("must end in {answer}".into());
        };
        let mut rest = before.replace("{documents}", "");
        if !rest.contains("{question}") {
            return Err("must hold {question}".into());
        }
        rest = rest.replace("{question}", "");
        if rest.contains(['{', '}']) {
            return Err("may hold no braces but {documents}, {question} and one {answer} at the end".into());
        }
        let prompt = before.trim_end();
        Ok(Self { prompt: prompt.to_owned(), gap: before[prompt.len()..].to_owned(), chat: None })
    }

    /// The same template as what a user says to a chat model, which answers in a turn of its own.
    pub fn in_chat(self, chat: Option<ChatForm>) -> Self {
        Self { chat, ..self }
    }

    /// The prompt up to the answer, without white space at its end.
    pub fn prompt(&self, documents: usize, question: &str) -> Prompt {
        let own = self.prompt.replace("{documents}", &documents.to_string());
        let mut parts = Vec::new();
        // Braces in the question are left alone.
        for (index, part) in own.split("{question}").enumerate() {
            if index > 0 {
                parts.push(Part::Given(question.to_owned()));
            }
            parts.push(Part::Own(part.to_owned()));
        }
        Prompt { parts, chat: self.chat.clone() }
    }

    /// The answer with the white space that stands before it; none in a turn of its own.
    pub fn answer(&self, answer: &str) -> String {
        let gap = if self.chat.is_some() { "" } else { self.gap.as_str() };
        format!("{gap}{answer}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_before_an_answer_goes_with_the_answer() {
        let template = Template::parse("{documents} documents.\n{question}\nAnswer: {answer}").unwrap();
        assert_eq!(
            template.prompt(12, "Where is {documents}?").text(),
            "12 documents.\nWhere is {documents}?\nAnswer:"
        );
        assert_eq!(template.answer("kitchen"), " kitchen");
        let chat = ChatForm::parse("{message}").unwrap();
        assert_eq!(template.in_chat(Some(chat)).answer("kitchen"), "kitchen");
    }

    #[test]
    fn templates_that_cannot_work_are_refused() {
        for bad in [
            "",
            "{question}",
            "{answer}",
            "{answer} {question}",
            "{question} {place} {answer}",
            "{question} { {answer}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse("{question}{answer}{answer}").is_err());
        assert!(Template::parse("Q: {question} {answer}").is_ok());
    }
}
