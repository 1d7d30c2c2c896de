//! What a run leaves behind: its folder, its metrics, its result and its table; and what an evaluation leaves
//! behind: its result files and its pictures.

mod break_even;
mod comparison;
mod cost;
mod evaluation;
#[cfg(test)]
mod fixture;
mod folder;
mod grid;
mod journal;
mod means;
mod metrics;
mod peak;
pub mod pictures;
mod predictions;
mod result;
mod support;
mod table;
mod writer;

pub use comparison::{ComparedCell, Comparison};
pub use evaluation::Evaluation;
pub use folder::RunFolder;
pub use journal::Journal;
pub use means::{MeanScore, Means};
pub use metrics::{EvalRecord, Metrics, StepRecord};
pub use peak::peak_bytes;
pub use predictions::{Prediction, PromptSettings, predictions_file, write_predictions};
pub use result::RunResult;
pub use writer::RunWriter;
