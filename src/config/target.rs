//! What a question's training target is: its answer, or the facts that decide it and then the answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Checker;
use crate::text::AnswerForm;
use crate::{Error, Result};

/// What the outer loss is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The bare answer.
    #[default]
    Answer,
    /// The supporting facts, then the answer (PERK, section 3).
    Reasoning,
}

/// The order of the supporting facts in a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SupportOrder {
    /// That of the reasoning, as the source gives them.
    #[default]
    Reasoning,
    /// That of the context.
    Text,
}

/// The training target; flattened into `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TargetConfig {
    /// Whether the target is the bare answer, or the supporting facts and the answer.
    pub target: Target,
    /// Form of a target with its facts: `{support}`, a mark, `{answer}`. The default is the authors'.
    pub reasoning_form: String,
    /// In which order the facts stand there.
    pub support_order: SupportOrder,
    /// What stands between two facts.
    pub support_separator: String,
    /// What the loss of a token before the answer counts, beside 1 for the answer's and the end token.
    pub support_weight: f64,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            target: Target::Answer,
            reasoning_form: AnswerForm::TAGS.to_owned(),
            support_order: SupportOrder::Reasoning,
            support_separator: " ".to_owned(),
            support_weight: 1.0,
        }
    }
}

impl TargetConfig {
    /// Whether the facts are a part of the target.
    pub fn is_reasoning(&self) -> bool {
        self.target == Target::Reasoning
    }

    /// The form in which a model that was trained on this target answers; `None` where that is the bare answer.
    ///
    /// # Errors
    /// A `reasoning_form` that is none.
    pub fn answer_form(&self) -> Result<Option<AnswerForm>> {
        let fault = |reason| Error::Invalid(format!("data.reasoning_form {reason}"));
        let parse = || AnswerForm::parse_template(&self.reasoning_form).map_err(fault);
        self.is_reasoning().then(parse).transpose()
    }

    pub(super) fn validate(&self, check: &mut Checker) {
        if let Err(reason) = AnswerForm::parse_template(&self.reasoning_form) {
            check.require(false, "reasoning_form", reason);
        }
        check.require(!self.support_separator.is_empty(), "support_separator", "must not be empty");
        check.not_negative("support_weight", self.support_weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_target_is_named() {
        let config = TargetConfig {
            reasoning_form: "{support} {answer}".into(),
            support_separator: String::new(),
            support_weight: f64::NAN,
            ..TargetConfig::default()
        };
        let mut faults = Vec::new();
        config.validate(&mut Checker::new("data", &mut faults));
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["data.reasoning_form", "data.support_separator", "data.support_weight"]);
        TargetConfig::default().validate(&mut Checker::new("data", &mut faults));
        assert_eq!(faults.len(), 3);
    }
}
