//! A prompt of RULER in its parts.

/// The parts, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    /// A solved sample of the task.
    pub(super) example: Option<String>,
    /// What the task is, with the white space behind it.
    pub(super) introduction: String,
    /// The haystack with what is hidden in it.
    pub(super) context: String,
    /// The question, and how its answer begins.
    pub(super) question: String,
}

impl Prompt {
    /// What comes before the question, which a line break parts from it, as one part the next.
    pub(super) fn documents(&self) -> Vec<String> {
        let text = format!("{}{}", self.introduction, self.context);
        self.example.iter().cloned().chain([text]).collect()
    }

    /// All of it, as RULER writes it.
    pub(super) fn text(&self) -> String {
        format!("{}\n{}", self.documents().join("\n"), self.question)
    }
}
