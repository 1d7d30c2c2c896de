//! Student records as a benchmark, with contexts of any length.

use super::{Benchmark, Cell, Entry, Metric, known, tokens};
use crate::config::QuestionsAbout;
use crate::tasks::student_records::RecordSource;
use crate::tasks::{EpisodeSource, Position, Split};
use crate::text::Tokenizer;
use crate::{Error, Result};

const NAME: &str = "student-records";

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    open: |given| {
        given.refuse_data("makes its own records")?;
        Ok(Box::new(StudentRecords::new(given.tokenizer.clone(), given.seed)))
    },
};

/// Questions about student records: one subtask for each kind of question. Samples never end; they are drawn
/// from the random streams of held-out episodes.
///
/// The subtasks `aggregate` and `count` ask about all members of a group, which lie anywhere, so they have no
/// position but random, and their answers follow the length.
#[derive(Debug, Clone)]
pub struct StudentRecords {
    tokenizer: Tokenizer,
    seed: u64,
}

impl StudentRecords {
    /// A benchmark of contexts whose length `tokenizer` counts.
    pub fn new(tokenizer: Tokenizer, seed: u64) -> Self {
        Self { tokenizer, seed }
    }
}

impl Benchmark for StudentRecords {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subtasks(&self) -> Vec<String> {
        QuestionsAbout::ALL.iter().map(|about| about.name().to_owned()).collect()
    }

    fn has_lengths(&self) -> bool {
        true
    }

    fn metric(&self) -> Metric {
        Metric::ExactMatch
    }

    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        let about = QuestionsAbout::ALL[known(cell, NAME, &self.subtasks())?];
        let whole_group = matches!(about, QuestionsAbout::Aggregate | QuestionsAbout::Count);
        if whole_group && cell.position != Position::Random {
            let (subtask, position) = (&cell.subtask, cell.position.name());
            return Err(Error::Invalid(format!(
                "{NAME}: {subtask} asks about all members of a group, which lie anywhere: position {position} is \
                 not possible, ask for random"
            )));
        }
        Ok(Box::new(RecordSource {
            about,
            questions: 1,
            context_tokens: tokens(cell, NAME)?,
            position: cell.position,
            tokenizer: self.tokenizer.clone(),
            split: Split::HeldOut,
            seed: self.seed,
        }))
    }
}
