//! What an evaluation cost, by method and length.

use crate::eval::CellScore;

use super::grid::{length_name, lengths, methods};

/// The lines of a table of costs, its head first: means over the samples of all subtasks and positions, and the
/// most memory that any of them held.
pub(super) fn costs(rows: &[CellScore]) -> Vec<Vec<String>> {
    let head = ["cost", "length", "tokens", "encode", "ask", "peak memory", "truncated"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for method in methods(rows) {
        let own = || rows.iter().filter(|row| row.method == method);
        for length in lengths(own()) {
            let cells: Vec<&CellScore> = own().filter(|row| row.cell.length == length).collect();
            lines.push(cost(method, &length_name(length), &cells));
        }
    }
    lines
}

fn cost(method: &str, length: &str, cells: &[&CellScore]) -> Vec<String> {
    let samples: usize = cells.iter().map(|row| row.samples).sum();
    let mean = |of: fn(&CellScore) -> f64| {
        let sum: f64 = cells.iter().map(|row| row.samples as f64 * of(row)).sum();
        sum / samples.max(1) as f64
    };
    let peak = cells.iter().filter_map(|row| row.peak_bytes).max();
    let truncated: usize = cells.iter().map(|row| row.truncated).sum();
    vec![
        method.to_owned(),
        length.to_owned(),
        format!("{:.0}", mean(|row| row.context_tokens as f64)),
        seconds(mean(|row| row.encode_secs)),
        seconds(mean(|row| row.ask_secs)),
        peak.map_or_else(|| "–".to_owned(), gigabytes),
        format!("{truncated} of {samples}"),
    ]
}

/// `–` where nothing was done.
fn seconds(secs: f64) -> String {
    match secs {
        0.0 => "–".to_owned(),
        secs if secs < 0.1 => format!("{:.1} ms", 1e3 * secs),
        secs => format!("{secs:.2} s"),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}
