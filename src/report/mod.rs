//! What a run leaves behind: its folder, its metrics, its result and its table.

mod folder;
mod journal;
mod metrics;
mod peak;
mod result;
mod table;

pub use folder::RunFolder;
pub use journal::Journal;
pub use metrics::{EvalRecord, Metrics, StepRecord};
pub use peak::peak_bytes;
pub use result::RunResult;
pub use table::table;
