//! Facts with a question about them, by subtask and number: bAbI's own files, or whatever else tells such.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::labels::gold;
use crate::tasks::babi::{self, BabiStory};
use crate::{Error, Result};

/// Facts and a question about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryQuestion {
    /// The facts, in their order.
    pub facts: Vec<String>,
    /// The question.
    pub question: String,
    /// Its answer.
    pub answer: String,
    /// Indices in `facts` of those that decide it, in the order of the reasoning; may be empty.
    pub support: Vec<usize>,
}

/// Stories by subtask and number.
pub trait Stories: Send + Sync {
    /// The subtasks, in the order of tables.
    fn subtasks(&self) -> Vec<String>;

    /// Number of stories of one of the subtasks; `None` where they never end.
    ///
    /// # Errors
    /// If they cannot be read.
    fn count(&self, subtask: &str) -> Result<Option<usize>>;

    /// The story of this index, from 0 and below the count: a pure function of both.
    ///
    /// # Errors
    /// If it cannot be read or told.
    fn story(&self, subtask: &str, index: usize) -> Result<StoryQuestion>;
}

/// The stories of a file, and of each of its questions which story it is about and which of its questions it is.
#[derive(Debug)]
struct Read {
    stories: Vec<BabiStory>,
    questions: Vec<(usize, usize)>,
}

/// A folder of bAbI's own files; a file is read when first asked for.
#[derive(Debug)]
pub(super) struct BabiFolder {
    /// By the number of the subtask.
    files: BTreeMap<u32, PathBuf>,
    read: Mutex<BTreeMap<u32, Arc<Read>>>,
}

impl BabiFolder {
    /// Finds the files `qaN_*.txt`. Where a subtask has several, the one that ends in `_test.txt` counts.
    ///
    /// # Errors
    /// A folder without such files; several of a subtask, of which not just one is for testing.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let mut found: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let path = entry.map_err(|e| Error::io(folder, e))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let number = name.strip_suffix(".txt").and_then(|stem| number(stem.split('_').next()?));
            if let Some(number) = number {
                found.entry(number).or_default().push(path);
            }
        }
        if found.is_empty() {
            return Err(Error::file(
                folder,
                "no bAbI files: expected names like qa1_single-supporting-fact_test.txt",
            ));
        }
        let files = found.into_iter().map(|(number, paths)| Ok((number, one_of(number, paths)?)));
        Ok(Self { files: files.collect::<Result<_>>()?, read: Mutex::default() })
    }

    fn read(&self, subtask: &str) -> Result<Arc<Read>> {
        let file = number(subtask).and_then(|number| Some((number, self.files.get(&number)?)));
        let (number, path) = file.ok_or_else(|| Error::Invalid(format!("no bAbI file of `{subtask}`")))?;
        let mut all = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = all.get(&number) {
            return Ok(read.clone());
        }
        let mut stories = babi::read(path)?;
        for question in stories.iter_mut().flat_map(|story| &mut story.questions) {
            let answer = gold(subtask, &question.answer);
            question.answer = answer.map_err(|reason| Error::data(path, question.line, reason))?;
        }
        let questions = stories.iter().enumerate();
        let questions =
            questions.flat_map(|(i, story)| (0..story.questions.len()).map(move |q| (i, q))).collect();
        let read = Arc::new(Read { stories, questions });
        all.insert(number, read.clone());
        Ok(read)
    }
}

/// The number of a subtask's name, `qa12`.
pub(super) fn number(subtask: &str) -> Option<u32> {
    let digits = subtask.strip_prefix("qa")?;
    digits.starts_with(|c: char| matches!(c, '1'..='9')).then(|| digits.parse().ok()).flatten()
}

fn one_of(number: u32, mut paths: Vec<PathBuf>) -> Result<PathBuf> {
    paths.sort();
    let is_test = |path: &PathBuf| path.to_string_lossy().ends_with("_test.txt");
    let chosen = match paths.as_slice() {
        [only] => Some(only),
        several => {
            let mut tests = several.iter().filter(|path| is_test(path));
            tests.next().filter(|_| tests.next().is_none())
        }
    };
    chosen.cloned().ok_or_else(|| {
        let reason = format!("several files of qa{number}, of which not just one ends in _test.txt");
        Error::file(&paths[0], reason)
    })
}

impl Stories for BabiFolder {
    fn subtasks(&self) -> Vec<String> {
        self.files.keys().map(|number| format!("qa{number}")).collect()
    }

    fn count(&self, subtask: &str) -> Result<Option<usize>> {
        self.read(subtask).map(|read| Some(read.questions.len()))
    }

    fn story(&self, subtask: &str, index: usize) -> Result<StoryQuestion> {
        let read = self.read(subtask)?;
        let question = read.questions.get(index).map(|&(story, question)| {
            let story = &read.stories[story];
            (story, &story.questions[question])
        });
        let beyond =
            || Error::Invalid(format!("{subtask}: no question {index} among {}", read.questions.len()));
        let (story, question) = question.ok_or_else(beyond)?;
        let facts = story.facts[..question.facts_before].iter().map(|(_, fact)| fact.clone()).collect();
        let (support, answer) = (question.support.clone(), question.answer.clone());
        Ok(StoryQuestion { facts, question: question.question.clone(), answer, support })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_file_of_a_subtask_is_preferred_and_others_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("qa2_two_train.txt", "1 Old.\n2 Q?\tno\t1\n");
        write("qa2_two_test.txt", "1 A.\n2 Q?\tgarden\t1\n3 C.\n4 R?\toffice\t1 3\n");
        write("qa10_x_train.txt", "1 A.\n2 Q?\tno\t1\n");
        write("qa11_x_test.txt", "1 A.\n2 Q?\tgarden\t1\n3 R?\thall\t1\n");
        write("qa0_x.txt", "");
        write("README.txt", "");
        let stories = BabiFolder::open(folder.path()).unwrap();
        assert_eq!(stories.subtasks(), ["qa2", "qa10", "qa11"]);
        assert_eq!(stories.count("qa2").unwrap(), Some(2));
        let story = stories.story("qa2", 1).unwrap();
        assert_eq!(
            (story.facts, story.answer),
            (vec!["A.".to_owned(), "C.".to_owned()], "office".to_owned())
        );
        assert!(stories.story("qa2", 2).unwrap_err().to_string().contains("no question 2"));
        let message = stories.count("qa11").unwrap_err().to_string();
        assert!(message.contains("qa11_x_test.txt:3: `hall` is no answer of qa11"), "{message}");
        assert!(stories.count("qa3").unwrap_err().to_string().contains("qa3"));
    }

    #[test]
    fn folders_that_do_not_say_which_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let message = || BabiFolder::open(folder.path()).unwrap_err().to_string();
        assert!(message().contains("no bAbI files"));
        for name in ["qa1_a.txt", "qa1_b.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(message().contains("several files of qa1"), "{}", message());
        std::fs::remove_file(folder.path().join("qa1_a.txt")).unwrap();
        let error = BabiFolder::open(folder.path()).unwrap().count("qa1").unwrap_err().to_string();
        assert!(error.contains("qa1_b.txt: empty"), "{error}");
        assert!(BabiFolder::open(Path::new("no/such")).unwrap_err().to_string().contains("no/such"));
    }
}
