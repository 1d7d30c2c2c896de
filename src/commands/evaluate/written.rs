//! What an evaluation leaves behind: tables, BABILong's own files, pictures.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    benchmarks::{Cell, Metric},
    error::{Error, Result},
    eval::{CellScore, SampleRecord},
    report::{Evaluation, Prediction, PromptSettings, predictions_file, write_predictions},
    tasks::Position,
};

/// Writes the results, the predictions and the pictures of `evaluation` to `dir`; returns the files of the
/// pictures.
///
/// # Errors
/// A file that cannot be written.
pub fn write(evaluation: &Evaluation, records: &[SampleRecord], dir: &Path) -> Result<Vec<PathBuf>> {
    evaluation.write(dir)?;
    if evaluation.metric == Metric::Babilong {
        write_official(records, dir)?;
    }
    let folder = dir.join("pictures");
    fs::create_dir_all(&folder).map_err(|fault| Error::io(&folder, fault))?;
    evaluation.write_pictures(&folder)
}

/// `predictions/METHOD/TASK_LENGTH_….csv`, and `METHOD-POSITION` where the facts are in a part of the context.
fn write_official(records: &[SampleRecord], dir: &Path) -> Result<()> {
    let mut cells: BTreeMap<(&str, &Cell), Vec<Prediction>> = BTreeMap::new();
    for record in records {
        let target = record.answers.first().cloned().unwrap_or_default();
        let prediction =
            Prediction { target, output: record.answer().to_owned(), question: record.question.clone() };
        cells.entry((record.method.name(), &record.cell)).or_default().push(prediction);
    }
    for ((method, cell), predictions) in cells {
        let Some(length) = cell.length else { continue };
        let folder = match cell.position {
            Position::Random => method.to_owned(),
            position => format!("{method}-{}", position.name()),
        };
        let folder = dir.join("predictions").join(folder);
        fs::create_dir_all(&folder).map_err(|fault| Error::io(&folder, fault))?;
        let name = predictions_file(&cell.subtask, length, PromptSettings::default())?;
        write_predictions(&folder.join(name), &predictions)?;
    }
    Ok(())
}

/// Notes about prompts that were cut.
pub fn notes(evaluation: &Evaluation) -> Vec<String> {
    let cut = evaluation.rows.iter().filter(|row| row.truncated > 0);
    let note = |row: &CellScore| {
        let length = row.cell.length.map_or_else(String::new, |length| format!(" at {length}"));
        format!(
            "{} {}{length}: the context did not fit into {} of {} prompts and lost its middle",
            row.method, row.cell.subtask, row.truncated, row.samples
        )
    };
    cut.map(note).collect()
}
