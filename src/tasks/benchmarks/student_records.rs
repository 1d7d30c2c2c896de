//! Student records as a benchmark, with contexts of any length.

use super::super::benchmark::{Benchmark, Cell, Length, Metric, Position, Sample};
use super::super::student_records::RecordSource;
use super::super::{EpisodeSource, Qa, Split};
use crate::config::QuestionsAbout;
use crate::text::Tokenizer;
use crate::{Error, Result};

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

    /// The episodes of a cell.
    fn source(&self, cell: &Cell) -> Result<RecordSource> {
        let fault = |reason: String| Error::Invalid(format!("student-records: {reason}"));
        let about = QuestionsAbout::ALL.into_iter().find(|about| about.name() == cell.subtask);
        let about = about.ok_or_else(|| {
            let there = QuestionsAbout::ALL.map(QuestionsAbout::name).join(", ");
            fault(format!("no subtask `{}`: there are {there}", cell.subtask))
        })?;
        let context_tokens = match cell.length {
            Some(Length::Tokens(tokens)) => tokens,
            Some(Length::Multiple(_)) | None => {
                return Err(fault("a length in tokens is needed, such as 512 or 8k".into()));
            }
        };
        let whole_group = matches!(about, QuestionsAbout::Aggregate | QuestionsAbout::Count);
        if whole_group && cell.position != Position::Random {
            let (subtask, position) = (&cell.subtask, cell.position.name());
            return Err(fault(format!(
                "{subtask} asks about all members of a group, which lie anywhere: position {position} is not \
                 possible, ask for random"
            )));
        }
        let (position, tokenizer, split) = (cell.position, self.tokenizer.clone(), Split::HeldOut);
        let seed = self.seed;
        Ok(RecordSource { about, questions: 1, context_tokens, position, tokenizer, split, seed })
    }
}

impl Benchmark for StudentRecords {
    fn name(&self) -> &'static str {
        "student-records"
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

    fn count(&self, cell: &Cell) -> Result<Option<usize>> {
        self.source(cell).map(|_| None)
    }

    fn sample(&self, cell: &Cell, index: usize) -> Result<Sample> {
        let mut episode = self.source(cell)?.episode(index as u64)?;
        let name = episode.name;
        let qa = episode.qa.pop().ok_or_else(|| Error::Invalid(format!("{name}: no question")))?;
        let Qa { question, answer, support } = qa;
        Ok(Sample { name, documents: episode.documents, question, answers: vec![answer], support })
    }
}
