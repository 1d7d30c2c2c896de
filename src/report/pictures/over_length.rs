//! Scores over the length of the context: a line for each method.

use std::collections::BTreeSet;

use crate::{
    benchmarks::{Cell, Length},
    error::{Error, Result},
    eval::{CellScore, wilson},
    report::grid::{Mean, length_name, lengths, mean, methods, metric_name},
};

use super::{
    Picture,
    canvas::{Area, Point, Stroke, text_width},
    colours::{mark, method_colour},
    frame::{Axis, Frame, Labels},
};

const PLOT: (f64, f64) = (600.0, 300.0);
/// Between the plot's sides and the first and last length.
const INSET: f64 = 34.0;

/// Mean score of each method at each length, over the subtasks and positions that `rows` have there, with its
/// 95% interval; a method that lacks one of them has no point there. Lengths lie apart as the logarithms of
/// their tokens do. `chance` is what guessing would score.
///
/// # Errors
/// No rows, or rows that have no length.
pub fn over_length(rows: &[CellScore], title: &str, chance: Option<f64>) -> Result<Picture> {
    let score = rows.first().map_or("", |first| metric_name(first.metric));
    draw(rows, title, score, chance)
}

/// As [`over_length`], the share of answers that are right with exactly the facts that decide them, of the rows
/// whose facts were compared.
///
/// # Errors
/// No such rows, or rows that have no length.
pub fn right_with_facts_over_length(rows: &[CellScore], title: &str) -> Result<Picture> {
    let right = |row: &CellScore| {
        let support = row.support.as_ref()?;
        let (score, samples) = (support.right_with_support, support.samples);
        Some(CellScore { score, samples, interval: wilson(score * samples as f64, samples), ..row.clone() })
    };
    let rows: Vec<CellScore> = rows.iter().filter_map(right).collect();
    draw(&rows, title, "right with its facts", None)
}

fn draw(rows: &[CellScore], title: &str, score: &str, chance: Option<f64>) -> Result<Picture> {
    let rows: Vec<&CellScore> = rows.iter().filter(|row| row.cell.length.is_some()).collect();
    if rows.is_empty() {
        return Err(Error::Invalid("nothing to draw: no scores at a length".to_owned()));
    }
    let names = methods(rows.iter().copied());
    let labels = Labels {
        title,
        score,
        axis: Axis::Percent,
        methods: &names,
        chance,
        below: "context length (logarithmic)",
        has_bars: false,
    };
    let mut frame = Frame::new(&labels, PLOT);
    frame.chance(chance);
    let places = places(&rows, frame.plot);
    draw_ticks(&mut frame, &places);
    // Bands first, so that none covers a line.
    let series: Vec<Vec<(f64, Mean)>> = names.iter().map(|method| series(&rows, method, &places)).collect();
    for (index, points) in series.iter().enumerate() {
        draw_band(&mut frame, points, method_colour(index));
    }
    for (index, points) in series.iter().enumerate() {
        let line: Vec<Point> = points.iter().map(|(x, mean)| (*x, frame.y(mean.score))).collect();
        frame.canvas.line(&line, Stroke::new(method_colour(index), 2.2));
        line.into_iter().for_each(|point| mark(&mut frame.canvas, point, index));
    }
    Ok(Picture::of(frame.canvas))
}

/// Where each length lies.
fn places(rows: &[&CellScore], plot: Area) -> Vec<(Option<Length>, f64)> {
    let lengths = lengths(rows.iter().copied());
    let log_tokens = lengths.iter().map(|length| {
        let own = rows.iter().filter(|row| row.cell.length == *length).map(|row| row.context_tokens);
        let (count, sum) = own.fold((0, 0), |(count, sum), tokens| (count + 1, sum + tokens));
        (sum as f64 / f64::from(count.max(1))).max(1.0).ln()
    });
    let logs: Vec<f64> = log_tokens.collect();
    let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let at = |log: f64| match high > low {
        true => plot.left + INSET + (plot.width - 2.0 * INSET) * (log - low) / (high - low),
        false => plot.middle().0,
    };
    lengths.iter().copied().zip(logs.iter().map(|log| at(*log))).collect()
}

/// A label at each length that has room for one.
fn draw_ticks(frame: &mut Frame, places: &[(Option<Length>, f64)]) {
    let mut free_from = f64::NEG_INFINITY;
    for (length, x) in places {
        let name = length_name(*length);
        let half = text_width(&name, 12.0) / 2.0;
        if x - half >= free_from {
            frame.tick(*x, &name);
            free_from = x + half + 6.0;
        }
    }
}

fn series(rows: &[&CellScore], method: &str, places: &[(Option<Length>, f64)]) -> Vec<(f64, Mean)> {
    let at = |(length, x): &(Option<Length>, f64)| {
        let here = rows.iter().copied().filter(|row| row.cell.length == *length);
        let cells: BTreeSet<&Cell> = here.clone().map(|row| &row.cell).collect();
        let own = |cell: &Cell| here.clone().find(|row| row.method == method && row.cell == *cell);
        mean(cells.into_iter().map(own)).map(|mean| (*x, mean))
    };
    places.iter().filter_map(at).collect()
}

/// The interval of each point, filled in between; a bar where there is one point alone.
fn draw_band(frame: &mut Frame, points: &[(f64, Mean)], colour: &str) {
    if let [(x, mean)] = points {
        frame.error_bar(*x, mean.interval, colour);
        return;
    }
    let above = points.iter().map(|(x, mean)| (*x, frame.y(mean.interval.1)));
    let below = points.iter().rev().map(|(x, mean)| (*x, frame.y(mean.interval.0)));
    let outline: Vec<Point> = above.chain(below).collect();
    frame.canvas.polygon(&outline, colour, 0.13);
}
