//! The run folder: where it is and what lies in it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    checkpoint::recover,
    error::{Error, Result},
};

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// Folder `dir` for a new run, not made yet; one that holds something is refused.
    ///
    /// # Errors
    /// A folder with something in it, or one that cannot be looked into.
    pub fn new(dir: &Path) -> Result<Self> {
        if is_taken(dir)? {
            let hint =
                "exists and is not empty: continue it with --resume, or name another folder with --out";
            return Err(Error::file(dir, hint));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// As [`RunFolder::new`], but a taken name gets the next free number: `runs/a`, `runs/a-2`, …
    ///
    /// # Errors
    /// A folder that cannot be looked into.
    pub fn new_numbered(dir: &Path) -> Result<Self> {
        let mut number = 1;
        while is_taken(&numbered(dir, number))? {
            number += 1;
        }
        Self::new(&numbered(dir, number))
    }

    /// The folder of a run that has a checkpoint.
    ///
    /// # Errors
    /// No checkpoint there.
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = Self { dir: dir.to_owned() };
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
        let exists = |number: &usize| numbered(dir, *number).exists();
        let names: Vec<PathBuf> = (1..).take_while(exists).map(|number| numbered(dir, number)).collect();
        let newest = names.iter().rev().find_map(|name| Self::open(name).ok());
        newest.ok_or_else(|| Error::file(dir, "no run to continue here: give its folder, --resume DIR"))
    }

    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.dir).map_err(|source| Error::io(&self.dir, source))
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

    /// The last checkpoint.
    pub fn last(&self) -> PathBuf {
        self.dir.join("checkpoints").join("last")
    }

    /// The checkpoint with the best held-out score.
    pub fn best(&self) -> PathBuf {
        self.dir.join("checkpoints").join("best")
    }
}

fn numbered(dir: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return dir.to_owned();
    }
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    dir.with_file_name(name)
}

fn is_taken(dir: &Path) -> Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(fault) => Err(Error::io(dir, fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_the_next_number_and_the_newest_is_continued() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("run");
        for expected in ["run", "run-2", "run-3"] {
            let made = RunFolder::new_numbered(&dir).unwrap();
            assert_eq!(made.dir(), room.path().join(expected));
            made.make().unwrap();
            fs::write(made.config(), "").unwrap();
        }
        assert!(RunFolder::open_newest(&dir).is_err(), "no checkpoint yet");
        fs::create_dir_all(room.path().join("run-2/checkpoints/last")).unwrap();
        assert_eq!(RunFolder::open_newest(&dir).unwrap().dir(), room.path().join("run-2"));
    }

    #[test]
    fn a_folder_that_holds_something_is_not_written_over() {
        let room = tempfile::tempdir().unwrap();
        fs::write(room.path().join("thesis.txt"), "").unwrap();
        let message = RunFolder::new(room.path()).unwrap_err().to_string();
        assert!(message.contains("--resume"), "{message}");
    }
}
