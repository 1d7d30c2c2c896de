//! Numbers over the steps of runs: a line for each run.

use crate::report::three_digits;

use super::{
    Picture,
    canvas::{Area, Point, Stroke, text_width},
    colours::method_colour,
    frame::{Axis, Frame, Labels},
    ticks::Scale,
};

const PLOT: (f64, f64) = (420.0, 200.0);
/// More points than these are put together: a picture has no more places.
const POINTS: usize = 200;

/// A line of a picture.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Curve {
    /// What it is of.
    pub(in crate::report) name: String,
    /// Step and number, in the order of the steps.
    pub(in crate::report) points: Vec<(f64, f64)>,
}

/// What is drawn of curves.
#[derive(Debug, Clone, Copy)]
pub(in crate::report) struct CurveLabels<'a> {
    pub(in crate::report) title: &'a str,
    /// What the numbers are, where the title does not say it.
    pub(in crate::report) number: &'a str,
    /// Whether they are shares from 0 to 1.
    pub(in crate::report) is_share: bool,
}

/// Points that lie together: the mean of their numbers, the smallest and the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    at: f64,
    mean: f64,
    low: f64,
    high: f64,
}

/// The curves; where one has more points than the picture has places, their means with all between the smallest and the
/// largest in a paler ground. Where the pointer rests it says the step and the numbers. `None` where there is no point.
pub(in crate::report) fn curves(labels: CurveLabels<'_>, curves: &[Curve]) -> Option<Picture> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let last = all().map(|(at, _)| *at).fold(f64::NEG_INFINITY, f64::max);
    if !last.is_finite() {
        return None;
    }
    let scale = match labels.is_share {
        true => Scale::between(0.0, 1.0),
        false => Scale::of(all().map(|(_, number)| *number)),
    };
    let across = Scale::between(0.0, last);
    let ticks = scale.ticks();
    let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
    // Beside the ticks of small numbers there is no room: what the numbers are stands in the title.
    let unit = Some(labels.number).filter(|number| !number.is_empty() && !labels.is_share);
    let log = scale.is_log().then_some("logarithmic");
    let title: Vec<&str> = std::iter::once(labels.title).chain(unit).chain(log).collect();
    let (title, number) = (title.join(", "), if labels.is_share { labels.number } else { "" });
    let mut frame = Frame::new(
        &Labels {
            title: &title,
            score: number,
            axis: if labels.is_share { Axis::Percent } else { Axis::Ticks(&ticks) },
            methods: &names,
            chance: None,
            below: "outer steps",
            has_bars: true,
        },
        PLOT,
    );
    let plot = frame.plot;
    let x = |at: f64| plot.left + plot.width * across.share(at);
    draw_ticks(&mut frame, across);
    let binned: Vec<Vec<Bin>> = curves.iter().map(|curve| bins(&curve.points, last)).collect();
    for (index, bins) in binned.iter().enumerate() {
        draw(&mut frame, bins, method_colour(index), x, scale);
    }
    draw_hints(&mut frame, curves, &binned, x);
    Some(Picture::of(frame.canvas))
}

fn draw_ticks(frame: &mut Frame, across: Scale) {
    let (plot, mut free_from) = (frame.plot, f64::NEG_INFINITY);
    for (share, label) in across.ticks() {
        let (at, half) = (plot.left + plot.width * share, text_width(&label, 12.0) / 2.0);
        if at - half >= free_from {
            frame.tick(at, &label);
            free_from = at + half + 6.0;
        }
    }
}

fn draw(frame: &mut Frame, bins: &[Bin], colour: &str, x: impl Fn(f64) -> f64, scale: Scale) {
    let y = |frame: &Frame, number: f64| frame.y(scale.share(number));
    if bins.iter().any(|bin| bin.high > bin.low) {
        let above = bins.iter().map(|bin| (x(bin.at), y(frame, bin.high)));
        let below = bins.iter().rev().map(|bin| (x(bin.at), y(frame, bin.low)));
        let outline: Vec<Point> = above.chain(below).collect();
        frame.canvas.polygon(&outline, colour, 0.15);
    }
    let line: Vec<Point> = bins.iter().map(|bin| (x(bin.at), y(frame, bin.mean))).collect();
    match line.as_slice() {
        [only] => frame.canvas.circle(*only, 3.0, colour),
        line => frame.canvas.line(line, Stroke::new(colour, 1.6)),
    }
}

/// A strip for each place of the first curve that says all numbers there.
fn draw_hints(frame: &mut Frame, curves: &[Curve], binned: &[Vec<Bin>], x: impl Fn(f64) -> f64) {
    let Some(longest) = binned.iter().max_by_key(|bins| bins.len()) else { return };
    let (plot, several) = (frame.plot, curves.len() > 1);
    for (index, bin) in longest.iter().enumerate() {
        let middle =
            |other: Option<&Bin>, side: f64| other.map_or(side, |other| (x(bin.at) + x(other.at)) / 2.0);
        let left = middle(index.checked_sub(1).and_then(|before| longest.get(before)), plot.left);
        let right = middle(longest.get(index + 1), plot.right());
        let number = |(curve, bins): (&Curve, &Vec<Bin>)| {
            let nearest =
                bins.iter().min_by(|a, b| (a.at - bin.at).abs().total_cmp(&(b.at - bin.at).abs()))?;
            let name = if several { format!("{} ", curve.name) } else { String::new() };
            Some(format!("{name}{}", three_digits(nearest.mean)))
        };
        let numbers: Vec<String> = curves.iter().zip(binned).filter_map(number).collect();
        let area = Area { left, width: right - left, ..plot };
        frame.canvas.hint(area, &format!("step {:.0}: {}", bin.at, numbers.join(", ")));
    }
}

/// The points, put together where there are more than there are places; what is no number is left out.
fn bins(points: &[(f64, f64)], last: f64) -> Vec<Bin> {
    let points: Vec<(f64, f64)> = points.iter().copied().filter(|(_, number)| number.is_finite()).collect();
    if points.len() <= POINTS {
        return points.iter().map(|&(at, mean)| Bin { at, mean, low: mean, high: mean }).collect();
    }
    let place = |at: f64| ((at / last * POINTS as f64) as usize).min(POINTS - 1);
    let together = points.chunk_by(|a, b| place(a.0) == place(b.0));
    together
        .map(|points| {
            let numbers = points.iter().map(|(_, number)| *number);
            Bin {
                at: points.iter().map(|(at, _)| at).sum::<f64>() / points.len() as f64,
                mean: numbers.clone().sum::<f64>() / points.len() as f64,
                low: numbers.clone().fold(f64::INFINITY, f64::min),
                high: numbers.fold(f64::NEG_INFINITY, f64::max),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: CurveLabels<'static> =
        CurveLabels { title: "Outer <loss>", number: "nats", is_share: false };

    fn curve(name: &str, points: usize) -> Curve {
        let point = |step: usize| (step as f64, 3.0 / step as f64);
        Curve { name: name.to_owned(), points: (1..=points).map(point).collect() }
    }

    #[test]
    fn many_points_are_drawn_as_means_between_their_extremes() {
        let bins = bins(&curve("a", 1000).points, 1000.0);
        assert!(bins.len() <= POINTS && bins.len() > POINTS / 2, "{}", bins.len());
        assert!(bins.iter().all(|bin| bin.low <= bin.mean && bin.mean <= bin.high));
        let points = [(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)];
        let few: Vec<(f64, f64)> = super::bins(&points, 3.0).iter().map(|bin| (bin.at, bin.mean)).collect();
        assert_eq!(few, [(1.0, 2.0), (3.0, 1.0)]);
    }

    #[test]
    fn a_picture_says_the_numbers_of_all_runs_where_the_pointer_rests() {
        let picture = curves(LABELS, &[curve("a", 4), curve("b", 2)]).unwrap();
        assert_eq!(picture.svg().matches("<title>").count(), 4);
        assert!(picture.svg().contains("<title>step 2: a 1.50, b 1.50</title>"), "{}", picture.svg());
        assert!(picture.svg().contains("<title>step 4: a 0.750, b 1.50</title>"));
        assert!(picture.svg().contains("Outer &lt;loss&gt;"));
        let alone = curves(LABELS, &[curve("a", 1)]).unwrap();
        assert!(alone.svg().contains("<title>step 1: 3.00</title>") && alone.svg().contains("<circle"));
    }

    #[test]
    fn without_a_point_there_is_no_picture() {
        assert_eq!(curves(LABELS, &[curve("a", 0)]), None);
    }
}
