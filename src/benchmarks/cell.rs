//! A cell of a benchmark: its subtask, and the length of its contexts and the position of what answers in them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, tasks::Position};

/// Which questions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Name of the subtask: `qa1`, `recall`.
    pub subtask: String,
    /// Length of the contexts; `None` where the benchmark does not vary it.
    pub length: Option<Length>,
    /// Where in the context the answer lies.
    pub position: Position,
}

/// Length of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Length {
    /// So many times the trained length: `4x`.
    Multiple(usize),
    /// So many tokens: `512`, `4k` (4,000), `1M` (1,000,000). `0k` is the facts alone.
    Tokens(usize),
}

impl Length {
    /// Most tokens: longer contexts than anybody has asked for, and far from what would overflow.
    const MOST_TOKENS: usize = 1 << 26;
    /// Most times the trained length, as for `eval.multiples`.
    const MOST_MULTIPLE: usize = 1 << 16;
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multiple(multiple) => write!(f, "{multiple}x"),
            Self::Tokens(0) => write!(f, "0k"),
            Self::Tokens(tokens) if tokens % 1_000_000 == 0 => write!(f, "{}M", tokens / 1_000_000),
            Self::Tokens(tokens) if tokens % 1_000 == 0 => write!(f, "{}k", tokens / 1_000),
            Self::Tokens(tokens) => write!(f, "{tokens}"),
        }
    }
}

impl FromStr for Length {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let reason = || {
            Error::Invalid(format!(
                "length `{text}` is none: write tokens as 512, 4k or 1M, or multiples of the trained length as 4x"
            ))
        };
        let (digits, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
        let number: usize = digits.parse().map_err(|_| reason())?;
        let factor = match unit {
            "x" if (1..=Self::MOST_MULTIPLE).contains(&number) => return Ok(Self::Multiple(number)),
            "x" => {
                let most = Self::MOST_MULTIPLE;
                return Err(Error::Invalid(format!(
                    "length `{text}` is none: multiples go from 1x to {most}x, as in 4x"
                )));
            }
            "" => 1,
            "k" | "K" => 1_000,
            "m" | "M" => 1_000_000,
            _ => return Err(reason()),
        };
        match number.checked_mul(factor) {
            Some(tokens) if tokens <= Self::MOST_TOKENS => Ok(Self::Tokens(tokens)),
            _ => {
                let most = Self::MOST_TOKENS;
                Err(Error::Invalid(format!("length `{text}` is none: tokens go up to {most}, as in 4k")))
            }
        }
    }
}

impl TryFrom<String> for Length {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Length> for String {
    fn from(length: Length) -> Self {
        length.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_back_as_they_are_written() {
        for (text, length) in [
            ("0k", Length::Tokens(0)),
            ("512", Length::Tokens(512)),
            ("4k", Length::Tokens(4_000)),
            ("1M", Length::Tokens(1_000_000)),
            ("16x", Length::Multiple(16)),
        ] {
            assert_eq!(text.parse::<Length>().unwrap(), length);
            assert_eq!(length.to_string(), text);
        }
        for text in ["", "k", "4q", "0x", "-1k", "99999999999999999M", "68M", "65537x"] {
            assert!(text.parse::<Length>().unwrap_err().to_string().contains("as"), "{text}");
        }
    }
}
