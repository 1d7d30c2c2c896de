//! How benchmarks are named and opened.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{ALL, Benchmark};
use crate::config::{BackgroundSource, DataConfig};
use crate::model::HubSettings;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// A benchmark by its name.
#[derive(Debug)]
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// Opens it with what is given.
    ///
    /// # Errors
    /// Data that is missing, not wanted, or cannot be read.
    pub open: fn(&Given<'_>) -> Result<Box<dyn Benchmark>>,
}

/// What a benchmark is opened with.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Its name, for messages.
    pub name: &'static str,
    /// Its data; empty for those that make their own.
    pub data: &'a [PathBuf],
    /// Background of contexts that are made.
    pub background: &'a BackgroundSource,
    /// Seed of what is made.
    pub seed: u64,
    /// What lengths are counted with.
    pub tokenizer: &'a Tokenizer,
    /// The data of the model's own configuration.
    pub config: &'a DataConfig,
    /// How to reach the hub.
    pub hub: &'a HubSettings,
}

impl Given<'_> {
    /// The data, of which there must be some.
    pub(super) fn some_data(&self) -> Result<&[PathBuf]> {
        match self.data {
            [] => Err(self.no_data()),
            data => Ok(data),
        }
    }

    /// The data, which is one file.
    pub(super) fn one_file(&self) -> Result<&Path> {
        match self.data {
            [] => Err(self.no_data()),
            [path] => Ok(path),
            [_, second, ..] => {
                Err(Error::file(second, format!("{} has one file of data; this is a second", self.name)))
            }
        }
    }

    fn no_data(&self) -> Error {
        Error::Invalid(format!("{} needs --data with its files", self.name))
    }

    /// Refuses data where none is wanted: `reason` says why.
    pub(super) fn refuse_data(&self, reason: &str) -> Result<()> {
        match self.data.first() {
            None => Ok(()),
            Some(path) => Err(Error::file(path, format!("this benchmark {reason}: leave --data out"))),
        }
    }
}

impl FromStr for &'static Entry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ALL.into_iter().find(|entry| entry.name == text).ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|entry| entry.name).collect();
            Error::Invalid(format!("benchmark `{text}` is none of {}", names.join(", ")))
        })
    }
}
