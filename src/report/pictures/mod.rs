//! Pictures of an evaluation, each as SVG and as PNG: scores of subtasks by lengths, over length and over
//! position.

mod canvas;
mod colours;
mod curves;
mod frame;
mod heat_map;
mod over_length;
mod over_position;
mod over_questions;
mod picture;
#[cfg(test)]
mod tests;
mod ticks;

pub(super) use curves::{Curve, CurveLabels, curves};
pub use heat_map::heat_map;
pub use over_length::{over_length, right_with_facts_over_length};
pub use over_position::over_position;
pub use over_questions::over_questions;
pub use picture::Picture;

use std::path::{Path, PathBuf};

use crate::{
    error::Result,
    eval::{CellScore, Method},
};

use super::{
    Evaluation,
    break_even::break_even,
    grid::{Grid, length_name, lengths, metric_name, positions, shared},
};

impl Evaluation {
    /// Writes the pictures that its rows allow to a folder that is there, and returns their paths, SVG and PNG:
    /// `heat_map_METHOD_POSITION` for each method and position, `over_length_POSITION` for each position where
    /// there are lengths, `right_with_facts_over_length_POSITION` where the facts behind the answers were compared
    /// too, `over_position` where there are several positions that compare, and with `break_even` `over_questions_LENGTH`
    /// for each length of `perk`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_pictures(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        let mut write = |picture: Picture, name: &str| {
            paths.extend(picture.write(folder, name)?);
            Result::Ok(())
        };
        let title = format!("{}: {}", self.benchmark, metric_name(self.metric));
        for grid in Grid::all(&self.rows) {
            let position = grid.position;
            let name = format!("heat_map_{}_{}", file_name(grid.method), position.name());
            write(heat_map(&self.rows, grid.method, position, &title)?, &name)?;
        }
        let positions = positions(&self.rows);
        for position in &positions {
            let is_own = |row: &&CellScore| row.cell.position == *position && row.cell.length.is_some();
            let own: Vec<CellScore> = self.rows.iter().filter(is_own).cloned().collect();
            if !own.is_empty() {
                let title = format!("{title} over length, position {}", position.name());
                write(over_length(&own, &title, self.chance)?, &format!("over_length_{}", position.name()))?;
            }
            if own.iter().any(|row| row.support.is_some()) {
                let title = format!(
                    "{}: right with its facts over length, position {}",
                    self.benchmark,
                    position.name()
                );
                let name = format!("right_with_facts_over_length_{}", position.name());
                write(right_with_facts_over_length(&own, &title)?, &name)?;
            }
        }
        if positions.len() > 1 && !shared(&self.rows).is_empty() {
            let title = format!("{title} over position");
            write(over_position(&self.rows, &title, self.chance)?, "over_position")?;
        }
        if self.break_even && break_even(&self.rows).is_some() {
            for length in lengths(self.rows.iter().filter(|row| row.method == Method::Perk.name())) {
                let at = length_name(length);
                let title = format!("{}: seconds for one document, length {at}", self.benchmark);
                write(over_questions(&self.rows, length, &title)?, &format!("over_questions_{at}"))?;
            }
        }
        Ok(paths)
    }
}

/// A method's name without what file names had better not hold.
fn file_name(method: &str) -> String {
    method.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_")
}
