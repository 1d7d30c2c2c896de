//! Questions of anybody's JSONL files.

use std::path::PathBuf;

use super::{Benchmark, Cell, Entry, Metric, as_written, known};
use crate::tasks::{Episode, EpisodeSource, indexed, jsonl};
use crate::{Error, Result};

const NAME: &str = "files";

pub(super) const ENTRY: Entry =
    Entry { name: NAME, open: |given| Ok(Box::new(Files::open(given.some_data()?)?)) };

/// Files of episodes, as [`jsonl::read`] reads them. Each file is a subtask.
#[derive(Debug)]
pub struct Files {
    /// By subtask, in the order given.
    files: Vec<(String, Vec<Episode>)>,
}

impl Files {
    /// Opens files; a subtask is called as its file is, without the ending.
    ///
    /// # Errors
    /// No file, a file that [`jsonl::read`] refuses, two of the same name.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut files: Vec<(String, Vec<Episode>)> = Vec::new();
        for path in paths {
            let subtask = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            if files.iter().any(|(name, _)| *name == subtask) {
                let reason = format!("another file is called `{subtask}` too: tables tell files by name");
                return Err(Error::file(path, reason));
            }
            files.push((subtask, jsonl::read(path)?));
        }
        if files.is_empty() {
            return Err(Error::Invalid("files: no file to take questions from".into()));
        }
        Ok(Self { files })
    }
}

impl Benchmark for Files {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subtasks(&self) -> Vec<String> {
        self.files.iter().map(|(name, _)| name.clone()).collect()
    }

    fn has_lengths(&self) -> bool {
        false
    }

    fn metric(&self) -> Metric {
        Metric::ExactMatch
    }

    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        let (_, episodes) = &self.files[known(cell, NAME, &self.subtasks())?];
        as_written(cell, NAME)?;
        if let Some(length) = cell.length {
            let reason = format!("files: length {length} is not possible, since contexts come as they are");
            return Err(Error::Invalid(reason));
        }
        Ok(indexed(Some(episodes.len()), |index| Ok(episodes[index as usize].clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmarks::Length;
    use crate::tasks::{Position, Qa};

    const TEXT: &str = "{\"context\": [\"A.\", \"B.\"], \"qa\": [{\"question\": \"Q\", \"answer\": \"1\"}, \
                        {\"question\": \"R\", \"answer\": \"2\"}]}\n\
                        {\"context\": \"C.\", \"question\": \"S\", \"answer\": \"3\"}\n";

    fn cell(subtask: &str) -> Cell {
        Cell { subtask: subtask.into(), length: None, position: Position::Random }
    }

    #[test]
    fn every_line_is_an_episode_with_its_questions_and_every_file_a_subtask() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["b.jsonl", "a.jsonl"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], TEXT).unwrap();
        std::fs::write(&paths[1], TEXT.lines().last().unwrap()).unwrap();
        let files = Files::open(&paths).unwrap();
        assert_eq!(files.subtasks(), ["b", "a"]);
        assert!(!files.has_lengths());
        assert_eq!(files.open(&cell("a")).unwrap().len(), Some(1));
        let b = files.open(&cell("b")).unwrap();
        assert_eq!(b.len(), Some(2));
        let episode = b.episode(0).unwrap();
        assert_eq!((episode.name.as_str(), episode.documents.len()), ("b.jsonl:1", 2));
        assert_eq!(episode.qa, [Qa::new("Q", "1", vec![]), Qa::new("R", "2", vec![])]);
        assert_eq!(b.episode(1).unwrap().name, "b.jsonl:2");
    }

    #[test]
    fn cells_and_files_that_are_not_there_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, TEXT).unwrap();
        let files = Files::open(std::slice::from_ref(&path)).unwrap();
        let message = |cell: Cell| files.open(&cell).err().unwrap().to_string();
        assert!(message(cell("c")).contains("no subtask `c`: it has a"));
        assert!(message(Cell { length: Some(Length::Tokens(4_000)), ..cell("a") }).contains("length 4k"));
        assert!(message(Cell { position: Position::Pre, ..cell("a") }).contains("position pre"));
        let beyond = files.open(&cell("a")).unwrap().episode(2).unwrap_err().to_string();
        assert!(beyond.contains("no episode 2 (from 0) among 2"), "{beyond}");
        assert!(Files::open(&[]).unwrap_err().to_string().contains("no file"));
        let twice = Files::open(&[path.clone(), path.clone()]).unwrap_err().to_string();
        assert!(twice.contains("called `a` too"), "{twice}");
        std::fs::write(&path, "{}").unwrap();
        assert!(Files::open(&[path]).unwrap_err().to_string().contains("a.jsonl:1: no `context`"));
    }
}
