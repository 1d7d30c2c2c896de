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
mod heat;
pub mod inspection;
mod journal;
mod means;
mod metrics;
mod page;
mod peak;
pub mod pictures;
mod predictions;
mod result;
mod runs;
mod support;
mod table;
mod tensorboard;
mod units;
mod writer;

pub use comparison::{ComparedCell, Comparison};
pub use evaluation::Evaluation;
pub use folder::RunFolder;
pub use heat::Heat;
pub use journal::Journal;
pub use means::{MeanScore, Means};
pub use metrics::{EvalRecord, Metrics, StepRecord};
pub use page::Page;
pub use peak::peak_bytes;
pub use predictions::{Prediction, PromptSettings, predictions_file, write_predictions};
pub use result::RunResult;
pub use runs::{ReportedRun, RunsReport};
pub use table::align;
pub use tensorboard::EventFile;
pub use units::{duration, gigabytes, three_digits};
pub use writer::RunWriter;
