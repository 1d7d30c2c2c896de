//! The text of a prompt, which knows what of it is the template's and what was put in.

/// A prompt in parts. Control tokens such as `<|im_end|>` are meant where the template has them; in a context or a
/// question they are words like any other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    pub(super) parts: Vec<Part>,
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
    /// The same prompt behind a context and a line break.
    pub fn behind(mut self, context: &str) -> Self {
        self.parts.insert(0, Part::Given(format!("{context}\n")));
        self
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let part = |part: &Part| match part {
            Part::Own(text) | Part::Given(text) => text.clone(),
        };
        self.parts.iter().map(part).collect()
    }
}

/// A text without a template.
impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self { parts: vec![Part::Given(text.to_owned())] }
    }
}
