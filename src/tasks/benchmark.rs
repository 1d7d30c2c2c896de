//! Benchmarks: questions by subtask, length and position, as `perk eval` asks them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A question with its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// For messages and journals: `qa1 #17`, `train_100.json:3`.
    pub name: String,
    /// The context.
    pub documents: Vec<String>,
    /// The question.
    pub question: String,
    /// Answers that count as right, at least one; the first is the one to show.
    pub answers: Vec<String>,
    /// The facts that decide it, in the order of the reasoning; empty where they are not known.
    pub support: Vec<String>,
}

/// Which samples.
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

/// The score that a benchmark is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// BABILong's own decision.
    Babilong,
    /// Equal after normalisation.
    ExactMatch,
    /// An answer occurs in the output after normalisation.
    Substring,
}

/// Questions that a model is measured by.
pub trait Benchmark: Send + Sync {
    /// Its name on the command line: `babilong`.
    fn name(&self) -> &'static str;

    /// Its subtasks, in the order of tables.
    fn subtasks(&self) -> Vec<String>;

    /// Whether contexts can be made as long as wanted; if not, a cell has no length.
    fn has_lengths(&self) -> bool;

    /// Whether a length must be chosen; if not, and none is, a cell has no length.
    fn needs_length(&self) -> bool {
        self.has_lengths()
    }

    /// The score that it is known by.
    fn metric(&self) -> Metric;

    /// What to tell a person of the data, as of questions that cannot be scored and are not asked.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Number of samples of the cell; `None` where they never end.
    ///
    /// # Errors
    /// A cell that is not there: an unknown subtask, a missing file, a length that is not possible.
    fn count(&self, cell: &Cell) -> Result<Option<usize>>;

    /// The sample of this index, from 0: a pure function of the benchmark, the cell and the index. The same
    /// index asks the same question about the same facts at every length and position, where contexts are made.
    ///
    /// # Errors
    /// As [`count`](Self::count); an index beyond the end; background that does not fill the length.
    fn sample(&self, cell: &Cell, index: usize) -> Result<Sample>;
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
