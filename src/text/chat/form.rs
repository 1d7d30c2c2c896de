//! What stands around a user's message, as it is written in configurations and records.

use std::fmt;

/// The place of the message.
const MESSAGE: &str = "{message}";
/// The same, without white space at both ends.
const TRIMMED: &str = "{message | trim}";

/// The text before and behind a user's message, up to where the model's answer begins. It is written as one text with
/// `{message}` in the message's place, or `{message | trim}` where white space around it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatForm {
    pub(in super::super) before: String,
    pub(in super::super) after: String,
    pub(in super::super) trims: bool,
}

impl ChatForm {
    pub(super) fn new(before: &str, after: &str, trims: bool) -> Result<Self, String> {
        let form = Self { before: before.to_owned(), after: after.to_owned(), trims };
        match Self::parse(&form.to_string()) {
            Ok(read) if read == form => Ok(form),
            _ => Err(format!("writes {MESSAGE} itself, which perk has for the message's place")),
        }
    }

    /// Reads a form.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let split = |mark: &str| text.split_once(mark).map(|(a, b)| (a.to_owned(), b.to_owned()));
        let (before, after, trims) = match (split(MESSAGE), split(TRIMMED)) {
            (Some((before, after)), None) => (before, after, false),
            (None, Some((before, after))) => (before, after, true),
            _ => return Err(format!("must hold {MESSAGE} or {TRIMMED}, once")),
        };
        if after.contains(MESSAGE) || after.contains(TRIMMED) {
            return Err(format!("must hold {MESSAGE} or {TRIMMED}, once"));
        }
        Ok(Self { before, after, trims })
    }
}

impl fmt::Display for ChatForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.trims { TRIMMED } else { MESSAGE };
        write!(f, "{}{mark}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_is_written() {
        for text in ["<u>{message}</u>\n<a>", "{message}", "[{message | trim}] {x}"] {
            assert_eq!(ChatForm::parse(text).unwrap().to_string(), text);
        }
        assert!(ChatForm::parse("{message | trim}").unwrap().trims);
        for bad in ["", "no place", "{message} {message}", "{message} {message | trim}", "{ message }"] {
            assert!(ChatForm::parse(bad).unwrap_err().contains("{message}"), "{bad}");
        }
        assert!(ChatForm::new("{message}", "", false).is_err());
        assert!(ChatForm::new("{message", "", false).is_ok());
    }
}
