//! The heat map of subtasks by lengths, as BABILong draws it: one for each method and position.

use crate::{
    error::{Error, Result},
    eval::CellScore,
    tasks::Position,
};

use super::{
    Picture,
    canvas::{Anchor, Area, Canvas, FAINT, Type, text_width},
    colours::score_colours,
};
use crate::report::grid::{Grid, length_name};

const CELL: (f64, f64) = (58.0, 34.0);
/// Between the cells and their means.
const GAP: f64 = 8.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 26.0;

/// Scores in percent of one method at one position: subtasks down, lengths to the right, red to green, with
/// the mean of each line, of each column and of all where there is more than one. A mean that lacks a score is
/// left out.
///
/// # Errors
/// No rows of that method at that position.
pub fn heat_map(rows: &[CellScore], method: &str, position: Position, title: &str) -> Result<Picture> {
    let grids = Grid::all(rows);
    let grid = grids.iter().find(|grid| grid.method == method && grid.position == position);
    let nothing =
        || Error::Invalid(format!("nothing to draw: no scores of {method} at position {}", position.name()));
    Ok(draw(grid.ok_or_else(nothing)?, title))
}

/// Names of the lines and of the columns, and a score for each pair.
struct Cells {
    lines: Vec<String>,
    columns: Vec<String>,
    scores: Vec<Vec<Option<f64>>>,
    /// Whether the last line, and the last column, is a mean.
    has_means: (bool, bool),
}

impl Cells {
    fn of(grid: &Grid<'_>) -> Self {
        let has_means = (grid.subtasks.len() > 1, grid.lengths.len() > 1);
        let mut lines: Vec<String> = grid.subtasks.iter().map(|subtask| (*subtask).to_owned()).collect();
        let mut columns: Vec<String> = grid.lengths.iter().copied().map(length_name).collect();
        let line = |subtask: &&str| {
            let cell = |length| grid.cell(subtask, length).map(|row| row.score);
            let mut line: Vec<Option<f64>> = grid.lengths.iter().copied().map(cell).collect();
            line.extend(has_means.1.then(|| grid.mean_of(subtask).map(|mean| mean.score)));
            line
        };
        let mut scores: Vec<Vec<Option<f64>>> = grid.subtasks.iter().map(line).collect();
        if has_means.0 {
            let mean = |length| grid.mean_at(length).map(|mean| mean.score);
            let mut line: Vec<Option<f64>> = grid.lengths.iter().copied().map(mean).collect();
            line.extend(has_means.1.then(|| grid.mean().map(|mean| mean.score)));
            scores.push(line);
            lines.push("mean".to_owned());
        }
        columns.extend(has_means.1.then(|| "mean".to_owned()));
        Self { lines, columns, scores, has_means }
    }
}

fn draw(grid: &Grid<'_>, title: &str) -> Picture {
    let cells = Cells::of(grid);
    // The mean's name is bold.
    let names = cells.lines.iter().map(|name| text_width(name, 14.5)).fold(0.0, f64::max);
    let left = 24.0 + names + 10.0;
    let gap = |has_mean: bool| if has_mean { GAP } else { 0.0 };
    let width = CELL.0 * cells.columns.len() as f64 + gap(cells.has_means.1);
    let height = CELL.1 * cells.lines.len() as f64 + gap(cells.has_means.0);
    let subtitle = format!("{}, position {}; % by context length", grid.method, grid.position.name());
    let title_width = text_width(title, 16.0).max(text_width(&subtitle, 12.0)) + 48.0;
    let mut canvas = Canvas::new((left + width + 24.0).max(title_width), TOP + height + BOTTOM);
    canvas.text((24.0, 26.0), title, Type { is_bold: true, ..Type::new(16.0, Anchor::Start) });
    canvas.text((24.0, 47.0), &subtitle, Type { colour: FAINT, ..Type::new(12.0, Anchor::Start) });
    for (index, name) in cells.columns.iter().enumerate() {
        let is_mean = cells.has_means.1 && index + 1 == cells.columns.len();
        let x = left + CELL.0 * (index as f64 + 0.5) + gap(is_mean);
        canvas.text((x, TOP - 13.0), name, Type { is_bold: is_mean, ..Type::new(13.0, Anchor::Middle) });
    }
    for (line, name) in cells.lines.iter().enumerate() {
        let is_mean = cells.has_means.0 && line + 1 == cells.lines.len();
        let top = TOP + CELL.1 * line as f64 + gap(is_mean);
        let style = Type { is_bold: is_mean, ..Type::new(13.0, Anchor::End) };
        canvas.text((left - 10.0, top + CELL.1 / 2.0), name, style);
        for (column, score) in cells.scores[line].iter().enumerate() {
            let is_column_mean = cells.has_means.1 && column + 1 == cells.columns.len();
            let x = left + CELL.0 * column as f64 + gap(is_column_mean);
            let area = Area { left: x + 1.0, top: top + 1.0, width: CELL.0 - 2.0, height: CELL.1 - 2.0 };
            draw_cell(&mut canvas, area, *score, is_mean || is_column_mean);
        }
    }
    Picture::of(canvas)
}

fn draw_cell(canvas: &mut Canvas, area: Area, score: Option<f64>, is_mean: bool) {
    match score {
        Some(score) => {
            let (fill, colour) = score_colours(score);
            canvas.rect(area, &fill, 1.0);
            let style = Type { colour, is_bold: is_mean, ..Type::new(13.0, Anchor::Middle) };
            canvas.text(area.middle(), &format!("{:.0}", 100.0 * score), style);
        }
        None => {
            canvas.rect(area, "#f2f2f2", 1.0);
            canvas.text(area.middle(), "–", Type { colour: FAINT, ..Type::new(13.0, Anchor::Middle) });
        }
    }
}
