//! The benchmarks that `perk eval` asks: one module each.

pub mod api_retrieval;
pub mod babilong;
mod dataset;
pub mod files;
mod held_out;
pub mod multi_doc;
mod records;
pub mod student_records;

pub use api_retrieval::ApiRetrieval;
pub use babilong::{Babilong, BabilongSource, Simulated, babilong_labels};
pub use files::Files;
pub use held_out::HeldOut;
pub use multi_doc::MultiDoc;
pub use student_records::StudentRecords;

use super::benchmark::{Cell, Position};
use crate::{Error, Result};

/// Refuses a subtask that is not among those there are.
fn known(cell: &Cell, benchmark: &str, subtasks: &[String]) -> Result<()> {
    if subtasks.contains(&cell.subtask) {
        return Ok(());
    }
    let there = subtasks.join(", ");
    Err(Error::Invalid(format!("{benchmark} has no subtask `{}`: it has {there}", cell.subtask)))
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

/// The error of an index behind the last sample.
fn beyond(cell: &Cell, benchmark: &str, index: usize, count: usize) -> Error {
    let subtask = &cell.subtask;
    Error::Invalid(format!("{benchmark} {subtask}: no sample {index} (from 0) among {count}"))
}
