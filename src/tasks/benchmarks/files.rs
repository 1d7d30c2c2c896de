//! Questions of anybody's JSONL files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::benchmark::{Benchmark, Cell, Metric, Sample};
use super::super::{Episode, jsonl};
use super::{as_written, beyond, known};
use crate::{Error, Result};

const NAME: &str = "files";

/// Files of episodes, as [`jsonl::read`] reads them. Each file is a subtask, each of its questions a sample.
#[derive(Debug)]
pub struct Files {
    /// By subtask, in the order given.
    files: Vec<(String, Vec<Question>)>,
}

#[derive(Debug)]
struct Question {
    name: String,
    episode: Arc<Episode>,
    /// Which of the episode's questions.
    index: usize,
}

impl Files {
    /// Opens files; a subtask is called as its file is, without the ending.
    ///
    /// # Errors
    /// No file, a file that [`jsonl::read`] refuses, two of the same name.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut files: Vec<(String, Vec<Question>)> = Vec::new();
        for path in paths {
            let subtask = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            if files.iter().any(|(name, _)| *name == subtask) {
                let reason = format!("another file is called `{subtask}` too: tables tell files by name");
                return Err(Error::file(path, reason));
            }
            files.push((subtask, questions(path)?));
        }
        if files.is_empty() {
            return Err(Error::Invalid("files: no file to take questions from".into()));
        }
        Ok(Self { files })
    }

    fn questions(&self, cell: &Cell) -> Result<&[Question]> {
        known(cell, NAME, &self.subtasks())?;
        as_written(cell, NAME)?;
        if let Some(length) = cell.length {
            let reason = format!("files: length {length} is not possible, since contexts come as they are");
            return Err(Error::Invalid(reason));
        }
        let found = self.files.iter().find(|(name, _)| *name == cell.subtask);
        Ok(found.map_or(&[], |(_, questions)| questions))
    }
}

fn questions(path: &Path) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    for episode in jsonl::read(path)? {
        let episode = Arc::new(episode);
        for index in 0..episode.qa.len() {
            let name = match episode.qa.len() {
                1 => episode.name.clone(),
                _ => format!("{} question {}", episode.name, index + 1),
            };
            questions.push(Question { name, episode: episode.clone(), index });
        }
    }
    Ok(questions)
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

    fn count(&self, cell: &Cell) -> Result<Option<usize>> {
        self.questions(cell).map(|questions| Some(questions.len()))
    }

    fn sample(&self, cell: &Cell, index: usize) -> Result<Sample> {
        let questions = self.questions(cell)?;
        let question = questions.get(index).ok_or_else(|| beyond(cell, NAME, index, questions.len()))?;
        let qa = &question.episode.qa[question.index];
        Ok(Sample {
            name: question.name.clone(),
            documents: question.episode.documents.clone(),
            question: qa.question.clone(),
            answers: vec![qa.answer.clone()],
            support: qa.support.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::benchmark::{Length, Position};
    use super::*;

    const TEXT: &str = "{\"context\": [\"A.\", \"B.\"], \"qa\": [{\"question\": \"Q\", \"answer\": \"1\"}, \
                        {\"question\": \"R\", \"answer\": \"2\"}]}\n\
                        {\"context\": \"C.\", \"question\": \"S\", \"answer\": \"3\"}\n";

    fn cell(subtask: &str) -> Cell {
        Cell { subtask: subtask.into(), length: None, position: Position::Random }
    }

    #[test]
    fn every_question_of_an_episode_is_a_sample_and_every_file_a_subtask() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["b.jsonl", "a.jsonl"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], TEXT).unwrap();
        std::fs::write(&paths[1], TEXT.lines().last().unwrap()).unwrap();
        let files = Files::open(&paths).unwrap();
        assert_eq!(files.subtasks(), ["b", "a"]);
        assert!(!files.has_lengths());
        assert_eq!(files.count(&cell("b")).unwrap(), Some(3));
        assert_eq!(files.count(&cell("a")).unwrap(), Some(1));
        let sample = files.sample(&cell("b"), 1).unwrap();
        assert_eq!((sample.name.as_str(), sample.question.as_str()), ("b.jsonl:1 question 2", "R"));
        assert_eq!(
            (sample.documents, sample.answers),
            (vec!["A.".into(), "B.".into()], vec!["2".to_owned()])
        );
        assert_eq!(files.sample(&cell("b"), 2).unwrap().name, "b.jsonl:2");
    }

    #[test]
    fn cells_and_files_that_are_not_there_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, TEXT).unwrap();
        let files = Files::open(std::slice::from_ref(&path)).unwrap();
        let message = |cell: Cell, index| files.sample(&cell, index).unwrap_err().to_string();
        assert!(message(cell("c"), 0).contains("no subtask `c`: it has a"));
        assert!(message(cell("a"), 3).contains("no sample 3 (from 0) among 3"));
        assert!(message(Cell { length: Some(Length::Tokens(4_000)), ..cell("a") }, 0).contains("length 4k"));
        assert!(message(Cell { position: Position::Pre, ..cell("a") }, 0).contains("position pre"));
        assert!(Files::open(&[]).unwrap_err().to_string().contains("no file"));
        let twice = Files::open(&[path.clone(), path.clone()]).unwrap_err().to_string();
        assert!(twice.contains("called `a` too"), "{twice}");
        std::fs::write(&path, "{}").unwrap();
        assert!(Files::open(&[path]).unwrap_err().to_string().contains("a.jsonl:1: no `context`"));
    }
}
