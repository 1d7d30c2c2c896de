//! The library's one error type: every variant carries the data that a person needs to mend the fault.

use std::path::{Path, PathBuf};

/// Result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One fault in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Dotted key, for instance `inner.steps`.
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
        "the device is out of memory: lower inner.micro_batch_segments (--micro-batch), set inner.activations = \"recompute\" or model.storage = \"bf16\", or shorten the prompt ({0})"
    )]
    DeviceMemory(String),
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// A file is missing, truncated or not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A tensor in a file is missing, extra, of the wrong shape or type.
    #[error("{}: tensor `{name}`: {reason}", path.display())]
    Tensor {
        /// The file it was looked for in.
        path: PathBuf,
        /// Its name there.
        name: String,
        /// Expected and found.
        reason: String,
    },
    /// A line of a data file cannot be used.
    #[error("{}:{line}: {reason}", path.display())]
    Data {
        /// The data file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with the line.
        reason: String,
    },
    /// A model hub did not deliver a model or a dataset.
    #[error("hub id `{repo}`: {reason}")]
    Hub {
        /// Hub id, `owner/name`.
        repo: String,
        /// What failed and what to try.
        reason: String,
    },
    /// A configuration has one fault or more; all are listed.
    #[error("{}: {}", path.display(), list(faults))]
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
    /// A request that cannot be met as given.
    #[error("{0}")]
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

    /// The same fault where the folder `from` is called `to`: people know nothing of temporary names.
    pub(crate) fn moved(mut self, from: &Path, to: &Path) -> Self {
        if let Self::Io { path, .. } | Self::File { path, .. } | Self::Tensor { path, .. } = &mut self
            && let Ok(rest) = path.strip_prefix(from)
        {
            *path = to.join(rest);
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
    let lines: Vec<String> = faults.iter().map(|f| format!("\n  {}: {}", f.key, f.reason)).collect();
    let noun = if faults.len() == 1 { "fault" } else { "faults" };
    format!("{} {noun}{}", faults.len(), lines.concat())
}
