//! The library's one error type: every variant carries the data that a person needs to mend the fault.

use std::path::{Path, PathBuf};

/// Result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One fault in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line of the file, from 1; `None` where the value does not stand there.
    pub line: Option<usize>,
    /// Dotted key, for instance `inner.steps`; empty where the file is no TOML.
    pub key: String,
    /// What is wrong with it and what would be right.
    pub reason: String,
}

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor operation failed: a bug, or a device out of memory.
    #[error("tensor operation failed: {0}")]
    Candle(#[source] candle_core::Error),
    /// The device has no memory left.
    #[error(
        "the device is out of memory: set inner.activations = \"recompute\" or model.storage = \"bf16\", take shorter segments (data.segment_tokens, --segment-tokens), or shorten the prompt ({0})"
    )]
    DeviceMemory(String),
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", shown_path(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// A file is missing, truncated or not what it should be.
    #[error("{}: {}", shown_path(path), shown_lines(reason))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A tensor in a file is missing, extra, of the wrong shape or type.
    #[error("{}: tensor `{}`: {}", shown_path(path), shown(name), shown_lines(reason))]
    Tensor {
        /// The file it was looked for in.
        path: PathBuf,
        /// Its name there.
        name: String,
        /// Expected and found.
        reason: String,
    },
    /// A line of a data file cannot be used.
    #[error("{}:{line}: {}", shown_path(path), shown(reason))]
    Data {
        /// The data file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with the line.
        reason: String,
    },
    /// A model hub did not deliver a model or a dataset.
    #[error("hub id `{}`: {}", shown(repo), shown_lines(reason))]
    Hub {
        /// Hub id, `owner/name`.
        repo: String,
        /// What failed and what to try.
        reason: String,
    },
    /// A configuration has one fault or more; all are listed.
    #[error("{}: {}", shown_path(path), list(faults))]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// Every fault found.
        faults: Vec<Fault>,
    },
    /// A loss or gradient became NaN or infinite.
    #[error(
        "{what} is {value} at outer step {step}, episode {episode}: lower the learning rates or clip the inner gradient; the last checkpoint is from before this step"
    )]
    NonFinite {
        /// Which quantity.
        what: String,
        /// Its value.
        value: f64,
        /// Outer step, from 0.
        step: usize,
        /// Index of the episode in the training stream.
        episode: u64,
    },
    /// Somebody who watched the work wanted no more of it.
    #[error("was stopped before its end")]
    Stopped,
    /// Another process of the job could not go on.
    #[error("rank {rank} of {count}: {}", shown_lines(reason))]
    Elsewhere {
        /// Its number, from 0.
        rank: usize,
        /// How many processes there are.
        count: usize,
        /// What it failed with.
        reason: String,
    },
    /// A request that cannot be met as given.
    #[error("{}", shown_lines(.0))]
    Invalid(String),
}

/// Whether a tensor operation failed for want of memory on its device.
pub(crate) fn out_of_memory(fault: &str) -> bool {
    fault.contains("OUT_OF_MEMORY") || fault.contains("out of memory") || fault.contains("ALLOC_FAILED")
}

impl From<candle_core::Error> for Error {
    fn from(fault: candle_core::Error) -> Self {
        let text = fault.to_string();
        match out_of_memory(&text) {
            true => Self::DeviceMemory(text.lines().next().unwrap_or_default().to_owned()),
            false => Self::Candle(fault),
        }
    }
}

impl Error {
    /// Wraps a system error with the path it is about.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// The same fault, of what is invalid in the episode `name`.
    pub(crate) fn in_episode(self, name: &str) -> Self {
        match self {
            Self::Invalid(reason) => Self::Invalid(format!("episode {name}: {reason}")),
            other => other,
        }
    }

    /// The same fault where the folder `from` is called `to`: people know nothing of temporary names.
    pub(crate) fn moved(mut self, from: &Path, to: &Path) -> Self {
        match &mut self {
            Self::Io { path, .. }
            | Self::File { path, .. }
            | Self::Tensor { path, .. }
            | Self::Data { path, .. }
            | Self::Config { path, .. } => {
                if let Ok(rest) = path.strip_prefix(from) {
                    *path = to.join(rest);
                }
            }
            _ => {}
        }
        self
    }

    /// A file that is not what it should be.
    pub fn file(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), reason: reason.into() }
    }

    /// A line of a data file that cannot be used; `line` counts from 1.
    pub fn data(path: impl AsRef<Path>, line: usize, reason: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_owned(), line, reason: reason.into() }
    }

    /// A tensor of a file that is missing, extra or of the wrong form.
    pub fn tensor(path: impl AsRef<Path>, name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Tensor { path: path.as_ref().to_owned(), name: name.into(), reason: reason.into() }
    }
}

fn list(faults: &[Fault]) -> String {
    let line = |f: &Fault| {
        let line = f.line.map(|line| format!("line {line}")).into_iter();
        let place: Vec<String> = line.chain(Some(shown(&f.key)).filter(|key| !key.is_empty())).collect();
        format!("\n  {}: {}", place.join(", "), shown(&f.reason))
    };
    let lines: Vec<String> = faults.iter().map(line).collect();
    let noun = if faults.len() == 1 { "fault" } else { "faults" };
    format!("{} {noun}{}", faults.len(), lines.concat())
}

/// A name or a line of text from outside, in one line: what a terminal would act on, or what would hide in it, is
/// written as an escape, `\u{1b}`.
pub fn shown(text: &str) -> String {
    escaped(text, |_| false)
}

/// As [`shown`], for text of several lines: its line breaks and tabs stay.
pub fn shown_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// As [`shown_lines`], for JSON, which means the same afterwards: its own escapes are used, and it needs some only within
/// texts.
pub fn shown_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        match acts(c) && !matches!(c, '\n' | '\t') {
            true => out.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            false => out.push(c),
        }
        out
    })
}

/// A path, as [`shown`].
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !stays(c) && acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a terminal would act on a character, or it would hide in a text.
fn acts(c: char) -> bool {
    c.is_control() || is_unseen(c)
}

/// Marks without a shape of their own: they turn the direction of writing, break lines, or make two names look alike.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_other_letters_stay() {
        for (text, expected) in [
            ("story-1", "story-1"),
            ("Žluťoučký 東京 क्षि", "Žluťoučký 東京 क्षि"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nerror: b", "a\\nerror: b"),
            ("a\0b\u{7f}\u{9b}", "a\\u{0}b\\u{7f}\\u{9b}"),
            ("gpj.\u{202e}txt\u{200b}\u{feff}", "gpj.\\u{202e}txt\\u{200b}\\u{feff}"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown_lines("a\n\tb\r"), "a\n\tb\\r");
    }

    #[test]
    fn names_in_errors_stay_in_their_line() {
        let bad = "x\nerror: y\u{1b}]0;";
        let io = std::io::Error::other("refused");
        for error in [
            Error::io(bad, io),
            Error::file(bad, "is wrong"),
            Error::data(bad, 1, bad),
            Error::tensor("file", bad, "is wrong"),
            Error::Hub { repo: bad.to_owned(), reason: "is wrong".to_owned() },
            Error::Config {
                path: bad.into(),
                faults: vec![Fault { line: None, key: bad.into(), reason: bad.into() }],
            },
        ] {
            let text = error.to_string();
            assert!(!text.contains('\u{1b}') && !text.contains("\nerror"), "{text:?}");
        }
    }
}
