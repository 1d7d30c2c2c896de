//! The run folder: where it is and what lies in it.

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::recover,
    error::{Error, Result},
};

/// A run folder, as readers see it; [`RunWriter`](super::RunWriter) is the right to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// Folder `dir`, whatever it holds.
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder of a run that has a checkpoint.
    ///
    /// # Errors
    /// No checkpoint there.
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = Self::at(dir);
        recover(&folder.last())?;
        if folder.last().is_dir() {
            return Ok(folder);
        }
        Err(Error::file(dir, "holds no checkpoint to continue from (checkpoints/last)"))
    }

    /// The newest of `dir`, `dir-2`, `dir-3`, … that has a checkpoint.
    ///
    /// # Errors
    /// No checkpoint in any of them.
    pub fn open_newest(dir: &Path) -> Result<Self> {
        let exists = |number: &usize| Self::numbered(dir, *number).exists();
        let names: Vec<PathBuf> =
            (1..).take_while(exists).map(|number| Self::numbered(dir, number)).collect();
        let newest = names.iter().rev().find_map(|name| Self::open(name).ok());
        newest.ok_or_else(|| Error::file(dir, "no run to continue here: give its folder, --resume DIR"))
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// One JSON line per outer step and per score.
    pub fn metrics(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    /// The result.
    pub fn result(&self) -> PathBuf {
        self.dir.join("result.json")
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// The last checkpoint.
    pub fn last(&self) -> PathBuf {
        self.checkpoints().join("last")
    }

    /// The checkpoint with the best held-out score.
    pub fn best(&self) -> PathBuf {
        self.checkpoints().join("best")
    }

    /// Everything that a run writes whole.
    pub(super) fn files(&self) -> [PathBuf; 5] {
        [self.config(), self.metrics(), self.result(), self.last(), self.best()]
    }

    /// `runs/a`, `runs/a-2`, …
    pub(super) fn numbered(dir: &Path, number: usize) -> PathBuf {
        if number == 1 {
            return dir.to_owned();
        }
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{number}"));
        dir.with_file_name(name)
    }
}
