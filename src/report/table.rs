//! Tables of lines and cells: the scores of an evaluation, and how tables are written in plain text and Markdown.

use crate::eval::CellScore;

use super::grid::{Grid, length_name, lengths, methods, percent, positions};

/// A table with what it is of; its first line is the head.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) lines: Vec<Vec<String>>,
}

/// The scores of `rows`: a table for each method and position with a line for each subtask, or, where there is one
/// subtask only, a table for each position with a line for each method.
pub(super) fn scores(rows: &[CellScore]) -> Vec<Table> {
    let grids = Grid::all(rows);
    match rows.first() {
        Some(first) if rows.iter().all(|row| row.cell.subtask == first.cell.subtask) => {
            positions(rows).into_iter().map(|position| by_method(&grids, rows, position)).collect()
        }
        _ => grids.iter().map(|grid| Table { name: grid.name(), lines: by_subtask(grid) }).collect(),
    }
}

fn by_method(grids: &[Grid<'_>], rows: &[CellScore], position: crate::tasks::Position) -> Table {
    let own: Vec<&Grid<'_>> = grids.iter().filter(|grid| grid.position == position).collect();
    let subtask = rows.first().map_or("", |row| &row.cell.subtask);
    let at_position = || rows.iter().filter(|row| row.cell.position == position);
    let lengths = lengths(at_position());
    let name = format!("{subtask}, {}", position.name());
    let mut lines = vec![head(&name, &lengths)];
    for method in methods(at_position()) {
        let Some(grid) = own.iter().find(|grid| grid.method == method) else { continue };
        let cells = lengths.iter().map(|length| score(grid.cell(subtask, *length)));
        lines.push(std::iter::once(method.to_owned()).chain(cells).collect());
    }
    Table { name, lines }
}

/// The lines of a grid's table, with the mean last where there are several subtasks.
fn by_subtask(grid: &Grid<'_>) -> Vec<Vec<String>> {
    let mut lines = vec![head(&grid.name(), &grid.lengths)];
    for subtask in &grid.subtasks {
        let cells = grid.lengths.iter().map(|length| score(grid.cell(subtask, *length)));
        lines.push(std::iter::once((*subtask).to_owned()).chain(cells).collect());
    }
    if grid.subtasks.len() > 1 {
        let means = grid.lengths.iter().map(|length| {
            grid.mean_at(*length).map_or_else(missing, |mean| percent(mean.score, mean.interval))
        });
        lines.push(std::iter::once("mean".to_owned()).chain(means).collect());
    }
    lines
}

fn head(corner: &str, lengths: &[Option<crate::benchmarks::Length>]) -> Vec<String> {
    std::iter::once(corner.to_owned()).chain(lengths.iter().copied().map(length_name)).collect()
}

fn score(row: Option<&CellScore>) -> String {
    row.map_or_else(missing, |row| percent(row.score, row.interval))
}

fn missing() -> String {
    "–".to_owned()
}

/// Columns of equal width, two spaces apart: the first stands left, the others right.
pub fn align(cells: &[Vec<String>]) -> String {
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
    let mut text = String::new();
    for line in cells {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            text += &if column == 0 { format!("{cell}{gap}") } else { format!("  {gap}{cell}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The first line is the head; the first column stands left, the others right.
pub(super) fn markdown(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if index == 0 {
            text += &format!("| :-- |{}\n", " --: |".repeat(line.len().saturating_sub(1)));
        }
    }
    text
}
