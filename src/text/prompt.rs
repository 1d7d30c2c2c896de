//! The text of a prompt, which knows what of it is the template's and what was put in.

use super::ChatForm;

/// A prompt in parts. Control tokens such as `<|im_end|>` are meant where the template has them; in a context or a
/// question they are words like any other. For a chat model it is what the user says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    pub(super) parts: Vec<Part>,
    /// What stands around it, if it is a message.
    pub(super) chat: Option<ChatForm>,
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// The template's own.
    Own(String),
    /// Put in.
    Given(String),
}

impl Prompt {
    /// A text as it is, in which control tokens are words.
    pub fn given(text: &str) -> Self {
        Self { parts: vec![Part::Given(text.to_owned())], chat: None }
    }

    /// The same prompt behind a context and a line break.
    pub fn behind(mut self, context: &str) -> Self {
        self.parts.insert(0, Part::Given(format!("{context}\n")));
        self
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.whole().iter().map(Part::text).collect()
    }

    /// Whether its text says itself what it begins with, so that no begin token comes before it. As in transformers, a
    /// chat template writes all of a conversation.
    pub(super) fn has_own_begin(&self) -> bool {
        self.chat.is_some()
    }

    /// Its parts, with those of the chat template around them.
    pub(super) fn whole(&self) -> Vec<Part> {
        let Some(ChatForm { before, after, trims }) = &self.chat else { return self.parts.clone() };
        let mut parts = self.parts.clone();
        if *trims {
            trim_start(parts.iter_mut());
            trim_end(parts.iter_mut().rev());
        }
        parts.insert(0, Part::Own(before.clone()));
        parts.push(Part::Own(after.clone()));
        parts
    }
}

/// Takes white space away up to the first other character.
fn trim_start<'a>(parts: impl Iterator<Item = &'a mut Part>) {
    for part in parts {
        let text = part.text_mut();
        *text = text.trim_start().to_owned();
        if !text.is_empty() {
            return;
        }
    }
}

/// As [`trim_start`], from the last part on.
fn trim_end<'a>(parts: impl Iterator<Item = &'a mut Part>) {
    for part in parts {
        let text = part.text_mut();
        *text = text.trim_end().to_owned();
        if !text.is_empty() {
            return;
        }
    }
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Self::Own(text) | Self::Given(text) => text,
        }
    }

    fn text_mut(&mut self) -> &mut String {
        match self {
            Self::Own(text) | Self::Given(text) => text,
        }
    }
}

/// A text without a template.
impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self { parts: vec![Part::Given(text.to_owned())], chat: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Template;

    fn prompt(template: &str, form: &str) -> Prompt {
        let chat = ChatForm::parse(form).unwrap();
        Template::parse(template).unwrap().in_chat(Some(chat)).prompt(2, "Who?")
    }

    #[test]
    fn a_message_stands_in_its_form_with_its_context_inside() {
        let prompt = prompt("{documents} documents. {question} Answer: {answer}", "<u>{message}</u><a>");
        assert_eq!(prompt.text(), "<u>2 documents. Who? Answer:</u><a>");
        assert_eq!(prompt.behind("Mary ran.").text(), "<u>Mary ran.\n2 documents. Who? Answer:</u><a>");
    }

    #[test]
    fn a_form_that_trims_takes_the_white_space_around_the_whole_message_and_no_other() {
        let (template, own) = (" \n{question} {answer}", "<u> {message | trim}\n</u>");
        assert_eq!(prompt(template, own).text(), "<u> Who?\n</u>");
        assert_eq!(prompt(template, own).behind(" \n").text(), "<u> Who?\n</u>");
        assert_eq!(prompt(template, own).behind(" a ").text(), "<u> a \n \nWho?\n</u>");
        assert_eq!(prompt(template, "{message}").text(), " \nWho?");
    }
}
