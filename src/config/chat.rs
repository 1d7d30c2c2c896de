//! `data.chat_template`: what stands around a prompt where the base is a chat model.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::text::ChatForm;

/// The form of a conversation: written as `"none"`, `"auto"`, the name of a template of the base, as `"default"`, or as
/// the form itself, which holds `{message}`. Once the base is open, and in checkpoints and records, it is `none` or the
/// form itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Option<String>", into = "Option<String>")]
pub enum ChatTemplate {
    /// The prompt stands alone.
    #[default]
    None,
    /// The base's usual template, if it has one.
    Auto,
    /// A template of the base.
    Named(String),
    /// The form itself.
    Written(String),
}

impl From<Option<String>> for ChatTemplate {
    fn from(text: Option<String>) -> Self {
        let Some(text) = text else { return Self::None };
        match text.as_str() {
            "none" => Self::None,
            "auto" => Self::Auto,
            _ if text.contains(['{', '\n', '<']) => Self::Written(text),
            _ => Self::Named(text),
        }
    }
}

/// Where there is none nothing is written, so that configurations are as versions wrote them that knew of no templates.
impl From<ChatTemplate> for Option<String> {
    fn from(template: ChatTemplate) -> Self {
        match template {
            ChatTemplate::None => None,
            ChatTemplate::Auto => Some("auto".into()),
            ChatTemplate::Named(text) | ChatTemplate::Written(text) => Some(text),
        }
    }
}

impl ChatTemplate {
    /// Whether the prompt stands alone.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether it is still to be looked up in the base.
    pub fn is_of_base(&self) -> bool {
        matches!(self, Self::Auto | Self::Named(_))
    }

    /// What is wrong with it, in words.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        match self {
            Self::Written(text) => ChatForm::parse(text).map(drop),
            Self::Named(name) if name.trim().is_empty() => Err(
                "is empty: \"none\", \"auto\", the name of a template of the base, or a form with {message}"
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    /// The form, once the base has been asked for its template.
    ///
    /// # Errors
    /// A template that is still to be looked up, or a form that is none.
    pub fn form(&self) -> Result<Option<ChatForm>> {
        let fault = |reason: &str| Error::Invalid(format!("data.chat_template {reason}"));
        match self {
            Self::None => Ok(None),
            Self::Written(text) => ChatForm::parse(text).map(Some).map_err(|reason| fault(&reason)),
            Self::Auto | Self::Named(_) => Err(fault("is a template of the base, which has not been opened")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_told_from_a_name_and_comes_back_as_it_was_written() {
        let read = |text: &str| ChatTemplate::from(Some(text.to_owned()));
        assert_eq!([read("none"), read("auto")], [ChatTemplate::None, ChatTemplate::Auto]);
        assert_eq!(read("tool_use"), ChatTemplate::Named("tool_use".into()));
        assert_eq!(read("<u>{message}"), ChatTemplate::Written("<u>{message}".into()));
        for text in ["auto", "default", "a{message}b"] {
            assert_eq!(Option::<String>::from(read(text)).as_deref(), Some(text));
        }
        assert_eq!(Option::<String>::from(read("none")), None);
        assert_eq!(ChatTemplate::from(None), ChatTemplate::None);
        assert!(read("<u>{massage}").check().unwrap_err().contains("{message}"));
        assert!(read("").check().is_err() && read("default").check().is_ok());
    }

    #[test]
    fn only_a_form_that_is_known_can_be_used() {
        assert_eq!(ChatTemplate::None.form().unwrap(), None);
        let form = ChatTemplate::Written("[{message}]".into()).form().unwrap().unwrap();
        assert_eq!(form.to_string(), "[{message}]");
        assert!(ChatTemplate::Auto.form().unwrap_err().to_string().contains("data.chat_template"));
    }
}
