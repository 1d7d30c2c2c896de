//! Where in a context lies what answers a question.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where in a context the facts, or the documents, that answer the question lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// In its first third, or as the first document.
    Pre,
    /// In its middle third, or as the middle document.
    Mid,
    /// In its last third, or as the last document.
    Post,
    /// Anywhere.
    #[default]
    Random,
}

impl Position {
    /// All, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Pre, Self::Mid, Self::Post, Self::Random];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Mid => "mid",
            Self::Post => "post",
            Self::Random => "random",
        }
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|position| position.name() == text);
        found.ok_or_else(|| Error::Invalid(format!("position `{text}` is none of pre, mid, post and random")))
    }
}
