//! Seconds over the number of questions on one document: a line for each method.

use crate::{
    benchmarks::Length,
    error::{Error, Result},
    eval::{CellScore, Method},
    report::break_even::{Seconds, carriers, seconds},
};

use super::{
    Picture,
    canvas::{Point, Stroke},
    colours::{mark, method_colour},
    frame::{Axis, Frame, Labels},
};

const PLOT: (f64, f64) = (600.0, 300.0);
/// Numbers of questions that have a tick.
const QUESTIONS: [u64; 7] = [1, 3, 10, 30, 100, 300, 1_000];

/// What one document of a length costs by the number of questions that are asked about it, both axes logarithmic:
/// encoded by `perk`, or carried in the prompt.
///
/// # Errors
/// Rows of which none carries the context in the prompt, or none is of `perk`, at this length.
pub fn over_questions(rows: &[CellScore], length: Option<Length>, title: &str) -> Result<Picture> {
    let names: Vec<&str> = std::iter::once(Method::Perk.name()).chain(carriers(rows)).collect();
    let took: Option<Vec<Seconds>> = names.iter().map(|name| seconds(rows, name, length)).collect();
    let took = took.filter(|took| took.len() > 1);
    let took = took.ok_or_else(|| Error::Invalid("nothing to draw: no costs to compare".to_owned()))?;
    let [first, .., last] = QUESTIONS.map(|count| count as f64);
    let ends = took.iter().flat_map(|took| [took.of(first), took.of(last)]);
    let (low, high) =
        ends.fold((f64::INFINITY, 0.0_f64), |(low, high), secs| (low.min(secs), high.max(secs)));
    let (low, high) = (low.max(1e-6).log10().floor(), high.max(1e-5).log10().ceil());
    let share = |secs: f64| (secs.max(1e-6).log10() - low) / (high - low).max(1.0);
    let ticks: Vec<(f64, String)> = (low as i32..=high as i32)
        .map(|power| (share(10f64.powi(power)), format!("{}", 10f64.powi(power))))
        .collect();
    let labels = Labels {
        title,
        score: "seconds (logarithmic)",
        axis: Axis::Ticks(&ticks),
        methods: &names,
        chance: None,
        below: "questions on one document (logarithmic)",
        has_bars: false,
    };
    let mut frame = Frame::new(&labels, PLOT);
    let plot = frame.plot;
    let x = |count: f64| plot.left + plot.width * count.ln() / last.ln();
    QUESTIONS.iter().for_each(|count| frame.tick(x(*count as f64), &count.to_string()));
    for (index, took) in took.iter().enumerate() {
        let point = |count: f64| -> Point { (x(count), frame.y(share(took.of(count)))) };
        // Between ticks too: on such axes the lines are bent.
        let line: Vec<Point> = (0..=60).map(|step| point(last.powf(f64::from(step) / 60.0))).collect();
        let marks = QUESTIONS.map(|count| point(count as f64));
        frame.canvas.line(&line, Stroke::new(method_colour(index), 2.2));
        marks.into_iter().for_each(|point| mark(&mut frame.canvas, point, index));
    }
    Ok(Picture::of(frame.canvas))
}
