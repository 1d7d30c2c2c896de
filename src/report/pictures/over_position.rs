//! Scores over the position of the answer in the context: grouped bars, one for each method.

use crate::{
    error::{Error, Result},
    eval::CellScore,
    report::grid::{Mean, length_name, lengths, mean, methods, metric_name, positions, shared},
};

use super::{
    Picture,
    canvas::{Anchor, Area, INK, Type},
    colours::method_colour,
    frame::{Axis, Frame, Labels},
};

const PLOT_HEIGHT: f64 = 300.0;
/// Width of a bar with its share of space, and space between groups.
const BAR: f64 = 40.0;
const GROUP_GAP: f64 = 34.0;

/// Mean score of each method at each position with its 95% interval, over those subtasks and lengths that every
/// method has at every position at which it has any. `chance` is what guessing would score.
///
/// # Errors
/// No such subtask and length.
pub fn over_position(rows: &[CellScore], title: &str, chance: Option<f64>) -> Result<Picture> {
    let rows = shared(rows);
    let Some(first) = rows.first() else {
        let nothing =
            "nothing to draw: no subtask and length has scores of all methods at all their positions";
        return Err(Error::Invalid(nothing.to_owned()));
    };
    let (names, positions) = (methods(rows.iter().copied()), positions(rows.iter().copied()));
    let below = format!("position of the facts in the context{}", length_range(&rows));
    let score = metric_name(first.metric);
    let labels =
        Labels { title, score, axis: Axis::Percent, methods: &names, chance, below: &below, has_bars: true };
    let group = BAR * names.len() as f64;
    let needed = (group + GROUP_GAP) * positions.len() as f64;
    let mut frame = Frame::new(&labels, (needed.max(360.0), PLOT_HEIGHT));
    let step = frame.plot.width / positions.len() as f64;
    let mut bars = Vec::new();
    for (place, position) in positions.iter().enumerate() {
        let middle = frame.plot.left + step * (place as f64 + 0.5);
        frame.tick(middle, position.name());
        for (index, method) in names.iter().enumerate() {
            let own = rows.iter().filter(|row| row.method == *method && row.cell.position == *position);
            let x = middle - group / 2.0 + BAR * (index as f64 + 0.5);
            bars.extend(mean(own.map(|row| Some(*row))).map(|mean| (x, mean, method_colour(index))));
        }
    }
    draw_bars(&mut frame, &bars, chance);
    Ok(Picture::of(frame.canvas))
}

/// `, 1k to 32k`; nothing where lengths are not varied.
fn length_range(rows: &[&CellScore]) -> String {
    match lengths(rows.iter().copied()).as_slice() {
        [] | [None] => String::new(),
        [only] => format!(", {}", length_name(*only)),
        [low, .., high] => format!(", {} to {}", length_name(*low), length_name(*high)),
    }
}

/// Bars, the level of chance over them, their intervals, and their numbers above both.
fn draw_bars(frame: &mut Frame, bars: &[(f64, Mean, &str)], chance: Option<f64>) {
    let bottom = frame.plot.bottom();
    for (x, mean, colour) in bars {
        let top = frame.y(mean.score);
        let area = Area { left: x - BAR * 0.42, top, width: BAR * 0.84, height: bottom - top };
        frame.canvas.rect(area, colour, 1.0);
    }
    frame.chance(chance);
    for (x, mean, _) in bars {
        frame.error_bar(*x, mean.interval, INK);
        let above = (*x, frame.y(mean.interval.1.max(mean.score)) - 9.0);
        let style = Type { has_rim: true, ..Type::new(11.0, Anchor::Middle) };
        frame.canvas.text(above, &format!("{:.0}", 100.0 * mean.score), style);
    }
}
