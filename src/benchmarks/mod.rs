//! The benchmarks that `perk eval` asks, one module each: every cell of theirs opens as a source of episodes, as
//! training data does.

pub mod api_retrieval;
pub mod babilong;
mod cell;
mod dataset;
mod entry;
pub mod files;
mod held_out;
pub mod multi_doc;
mod records;
pub mod ruler;
pub mod student_records;

pub use api_retrieval::ApiRetrieval;
pub use babilong::{Babilong, BabilongSource, Simulated, babilong_labels};
pub use cell::{Cell, Length};
pub use entry::{Entry, Given};
pub use files::Files;
pub use held_out::HeldOut;
pub use multi_doc::MultiDoc;
pub use ruler::Ruler;
pub use student_records::StudentRecords;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    tasks::{EpisodeSource, Position},
};

/// All benchmarks, in the order of help texts.
pub static ALL: [&Entry; 8] = [
    &babilong::ENTRY,
    &ruler::ENTRY,
    &student_records::ENTRY,
    &api_retrieval::ENTRY,
    &multi_doc::HOTPOTQA,
    &multi_doc::TRIVIAQA,
    &files::ENTRY,
    &held_out::ENTRY,
];

/// Questions that a model is measured by.
pub trait Benchmark: Send + Sync {
    /// Its name on the command line: `babilong`.
    fn name(&self) -> &'static str;

    /// Its subtasks, in the order of tables.
    fn subtasks(&self) -> Vec<String>;

    /// Whether contexts can be made as long as wanted; if not, a cell has no length.
    fn has_lengths(&self) -> bool;

    /// Whether a length must be chosen; if not, and none is, a cell has no length.
    fn needs_length(&self) -> bool {
        self.has_lengths()
    }

    /// The score that it is known by.
    fn metric(&self) -> Metric;

    /// What to tell a person of the data, as of questions that cannot be scored and are not asked.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The episodes of a cell. The same index asks the same about the same facts at every length and position, where
    /// contexts are made.
    ///
    /// # Errors
    /// A cell that is not there: an unknown subtask, a missing file, a length that is not possible.
    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>>;
}

/// The score that a benchmark is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// BABILong's own decision.
    Babilong,
    /// Equal after normalisation.
    ExactMatch,
    /// An answer occurs in the output after normalisation.
    Substring,
    /// The share of the answers that occur in the output, for all of them are wanted: RULER's `string_match_all`.
    StringMatchAll,
}

/// Which of the subtasks a cell's is; refuses one that is not among them.
fn known(cell: &Cell, benchmark: &str, subtasks: &[String]) -> Result<usize> {
    subtasks.iter().position(|subtask| *subtask == cell.subtask).ok_or_else(|| {
        let there = subtasks.join(", ");
        Error::Invalid(format!("{benchmark} has no subtask `{}`: it has {there}", cell.subtask))
    })
}

/// Refuses a position where contexts are as they were written.
fn as_written(cell: &Cell, benchmark: &str) -> Result<()> {
    if cell.position == Position::Random {
        return Ok(());
    }
    let reason = format!(
        "{benchmark}: position {} is not possible, since these contexts come as they are: ask for random",
        cell.position.name()
    );
    Err(Error::Invalid(reason))
}

/// The length of a cell whose contexts are made of so many tokens.
fn tokens(cell: &Cell, benchmark: &str) -> Result<usize> {
    let reason = match cell.length {
        Some(Length::Tokens(tokens)) => return Ok(tokens),
        Some(length) => format!("length {length} is not possible"),
        None => "a length is needed".to_owned(),
    };
    Err(Error::Invalid(format!("{benchmark}: {reason}: its lengths are tokens, as in 512, 4k or 1M")))
}
