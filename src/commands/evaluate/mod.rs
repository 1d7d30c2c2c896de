//! Evaluation: a benchmark's questions, asked by several methods, journalled, scored and written down.

mod compare;
mod folder;
mod grid;
mod models;
mod written;

pub use compare::compare;
pub use folder::{EvalFolder, EvalReservation};
pub use grid::{EvalGrid, EvalPlan};
pub use models::{ModelSources, Models};
pub use written::{notes, write};

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    benchmarks::{Benchmark, Cell},
    error::Result,
    eval::{CellScore, CellSource, Method, SampleRecord, cell_score, chance, whole_episodes},
    report::peak_bytes,
};

use super::{Event, Observer};

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// A score for each cell and method, in the order of the grid.
    pub rows: Vec<CellScore>,
    /// What guessing evenly among the answers that occurred would score, 0 to 1; `None` where answers are open.
    pub chance: Option<f64>,
    /// The records behind the rows, in their order.
    pub records: Vec<SampleRecord>,
}

/// Asks what has not been asked yet; `None` if a stop was requested before the end.
///
/// # Errors
/// An episode that cannot be made or asked, a file that cannot be written.
pub fn evaluate(
    models: &Models,
    benchmark: &dyn Benchmark,
    plan: &EvalPlan,
    folder: &mut EvalFolder,
    observer: &dyn Observer,
) -> Result<Option<Evaluated>> {
    let tell = |note: &str| observer.notice(&Event::Note(note));
    let evaluator = models.setup().evaluator(&tell);
    let tokenizer = &models.setup().tokenizer;
    let (total, done) = (plan.episodes(), AtomicUsize::new(0));
    let (mut rows, mut records) = (Vec::new(), Vec::new());
    for (cell, count) in &plan.cells {
        let episodes = benchmark.open(cell)?;
        let source =
            CellSource { cell, metric: benchmark.metric(), episodes: episodes.as_ref(), count: *count };
        for &method in &plan.methods {
            let (known, episodes) = whole_episodes(folder.take(method, cell), *count);
            done.fetch_add(episodes, Ordering::Relaxed);
            let what = describe(method, cell);
            let go_on = || {
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                observer.notice(&Event::Scoring { what: &what, done, total });
                !observer.stop_requested()
            };
            let take = |record: &SampleRecord, prompt: &[u32]| folder.add(record, &tokenizer.decode(prompt)?);
            let asked = evaluator.cell(&models.of(method), &source, known, &take, &go_on)?;
            let Some(asked) = asked else { return Ok(None) };
            rows.push(cell_score(method, cell, benchmark.metric(), &asked, peak_bytes()));
            records.extend(asked);
        }
    }
    Ok(Some(Evaluated { rows, chance: chance(benchmark.metric(), &records), records }))
}

fn describe(method: Method, cell: &Cell) -> String {
    let length = cell.length.map_or_else(String::new, |length| format!(" at {length}"));
    format!("{} {}{length}, {}", method.name(), cell.subtask, cell.position.name())
}
