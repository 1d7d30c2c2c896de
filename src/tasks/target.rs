//! The text that a model learns to write behind a prompt: the answer, or the facts that decide it and the answer.

use super::Qa;
use crate::config::{SupportOrder, TargetConfig};
use crate::text::AnswerForm;
use crate::{Error, Result};

/// What to say of a question whose facts are wanted and not there.
pub(super) fn without_facts(qa: &Qa) -> String {
    format!(
        "the question `{}` comes without its supporting facts, which data.target = \"reasoning\" needs: add them to \
         the data (`support` in JSONL), or set data.target = \"answer\"",
        qa.question
    )
}

/// Writes targets.
#[derive(Debug, Clone)]
pub(super) struct TargetWriter {
    /// `None` where the target is the bare answer.
    form: Option<AnswerForm>,
    order: SupportOrder,
    separator: String,
}

/// A target in two parts; joined, they are its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The facts with the marks around them; empty where the target is the bare answer.
    pub trace: String,
    /// The answer with what follows it.
    pub conclusion: String,
}

impl TargetWriter {
    /// # Errors
    /// A form that is none.
    pub(super) fn new(config: &TargetConfig) -> Result<Self> {
        Ok(Self {
            form: config.answer_form()?,
            order: config.support_order,
            separator: config.support_separator.clone(),
        })
    }

    /// The facts that decide a question about `context`, in the order of targets.
    pub(super) fn facts(&self, qa: &Qa, context: &str) -> Vec<String> {
        let mut facts: Vec<String> = qa.support.iter().map(|fact| fact.trim().to_owned()).collect();
        if self.order == SupportOrder::Text {
            // Of a sentence that comes more than once, the last decides in stories. What the context does not have
            // word for word comes last, in the order of the reasoning.
            facts.sort_by_cached_key(|fact| context.rfind(fact.as_str()).unwrap_or(usize::MAX));
        }
        facts
    }

    /// The target of a question that these facts decide.
    ///
    /// # Errors
    /// Facts that are wanted and not there; facts or an answer that hold a mark of the form.
    pub(super) fn write(&self, qa: &Qa, facts: &[String]) -> Result<Target> {
        let Some(form) = &self.form else {
            return Ok(Target { trace: String::new(), conclusion: qa.answer().to_owned() });
        };
        if facts.is_empty() {
            return Err(Error::Invalid(without_facts(qa)));
        }
        let support = facts.join(&self.separator);
        let (trace, conclusion) = form.write(&support, qa.answer());
        // A model that learned it perfectly would be misread.
        let read = form.parse(&format!("{trace}{conclusion}"));
        if read.answer != qa.answer().trim() || read.support.as_deref() != Some(support.trim()) {
            return Err(Error::Invalid(format!(
                "the facts or the answer of the question `{}` hold a mark of data.reasoning_form, so that they cannot \
                 be told apart again: choose a form whose marks the data does not have",
                qa.question
            )));
        }
        Ok(Target { trace, conclusion })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn qa(support: &[&str]) -> Qa {
        let support = support.iter().map(|&fact| fact.to_owned()).collect();
        Qa::new("Where is the milk?", "kitchen", support)
    }

    fn write(config: &TargetConfig, support: &[&str]) -> Result<String> {
        let context = "Mary went to the kitchen. It rained. Mary got the milk.";
        let (writer, qa) = (TargetWriter::new(config)?, qa(support));
        let Target { trace, conclusion } = writer.write(&qa, &writer.facts(&qa, context))?;
        Ok(trace + &conclusion)
    }

    #[test]
    fn a_reasoned_target_holds_the_facts_in_the_wanted_order_and_form() {
        let reasoning = TargetConfig { target: config::Target::Reasoning, ..TargetConfig::default() };
        let facts = ["Mary got the milk.", " Mary went to the kitchen.\n"];
        let expected =
            "<support>Mary got the milk. Mary went to the kitchen.</support>\n<output>kitchen</output>";
        assert_eq!(write(&reasoning, &facts).unwrap(), expected);
        let text = TargetConfig {
            support_order: SupportOrder::Text,
            support_separator: " / ".into(),
            reasoning_form: "{support} => {answer}".into(),
            ..reasoning
        };
        let expected = "Mary went to the kitchen. / Mary got the milk. => kitchen";
        assert_eq!(write(&text, &facts).unwrap(), expected);
        assert_eq!(write(&TargetConfig::default(), &facts).unwrap(), "kitchen");
    }

    #[test]
    fn facts_that_hold_a_mark_of_the_form_are_refused() {
        let reasoning = TargetConfig {
            target: config::Target::Reasoning,
            reasoning_form: "{support} so {answer}".into(),
            ..TargetConfig::default()
        };
        let message = write(&reasoning, &["Mary sat on the sofa."]).unwrap_err().to_string();
        assert!(message.contains("reasoning_form") && message.contains("Where is the milk?"), "{message}");
    }

    #[test]
    fn a_question_without_its_facts_is_refused_with_what_to_do() {
        let reasoning = TargetConfig { target: config::Target::Reasoning, ..TargetConfig::default() };
        let message = write(&reasoning, &[]).unwrap_err().to_string();
        assert!(message.contains("Where is the milk?") && message.contains("`support`"), "{message}");
        assert_eq!(write(&TargetConfig::default(), &[]).unwrap(), "kitchen");
    }
}
