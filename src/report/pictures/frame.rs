//! What pictures have in common: a title, a legend, an axis of percents or of something else, the level of chance.

use super::{
    canvas::{Anchor, Area, Canvas, INK, Point, RULE, Stroke, Type, text_width},
    colours::{mark, method_colour},
};

const MARGIN: f64 = 24.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 28.0;
/// Height of the legend's first line.
const LEGEND: f64 = 58.0;
/// From a legend's line to its name, and from its name to the next entry.
const KEY: f64 = 30.0;
const SPACE: f64 = 22.0;

/// What is written around the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    /// The score's name.
    pub(super) score: &'a str,
    pub(super) axis: Axis<'a>,
    pub(super) methods: &'a [&'a str],
    /// What guessing would score, 0 to 1.
    pub(super) chance: Option<f64>,
    /// What the axis below shows.
    pub(super) below: &'a str,
    /// Whether methods are bars; if not, they are lines.
    pub(super) has_bars: bool,
}

/// What the axis at the left shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Axis<'a> {
    /// Shares, in percent.
    Percent,
    /// Labels at these shares of its height, from below.
    Ticks(&'a [(f64, String)]),
}

/// A canvas with the parts that are there before the data.
pub(super) struct Frame {
    pub(super) canvas: Canvas,
    /// Where the data goes.
    pub(super) plot: Area,
}

impl Frame {
    /// With room for a plot of at least this size.
    pub(super) fn new(labels: &Labels<'_>, plot: (f64, f64)) -> Self {
        let width = (LEFT + plot.0 + RIGHT).max(text_width(labels.title, 16.0) + 2.0 * MARGIN);
        let entries: Vec<&str> =
            labels.methods.iter().copied().chain(labels.chance.map(|_| "chance")).collect();
        let places = legend_places(&entries, width);
        let top = places.last().map_or(LEGEND, |(_, y)| *y) + 28.0;
        let plot = Area { left: LEFT, top, width: width - LEFT - RIGHT, height: plot.1 };
        let mut canvas = Canvas::new(width, plot.bottom() + 62.0);
        canvas.text((MARGIN, 26.0), labels.title, Type { is_bold: true, ..Type::new(16.0, Anchor::Start) });
        for (index, (name, (x, y))) in entries.iter().zip(places).enumerate() {
            let ends = [(x, y), (x + 22.0, y)];
            if index >= labels.methods.len() {
                canvas.line(&ends, CHANCE);
            } else if labels.has_bars {
                let swatch = Area { left: x + 6.0, top: y - 6.0, width: 16.0, height: 12.0 };
                canvas.rect(swatch, method_colour(index), 1.0);
            } else {
                canvas.line(&ends, Stroke::new(method_colour(index), 2.2));
                mark(&mut canvas, (x + 11.0, y), index);
            }
            canvas.text((x + KEY, y), name, Type::new(13.0, Anchor::Start));
        }
        let mut frame = Self { canvas, plot };
        frame.axes(labels);
        frame
    }

    /// The height of a share; what is no number lies at the bottom.
    pub(super) fn y(&self, share: f64) -> f64 {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.plot.bottom() - self.plot.height * share
    }

    /// The level of chance, where it is known.
    pub(super) fn chance(&mut self, chance: Option<f64>) {
        if let Some(chance) = chance {
            let y = self.y(chance);
            self.canvas.line(&[(self.plot.left, y), (self.plot.right(), y)], CHANCE);
        }
    }

    /// A label under the axis, at `x`.
    pub(super) fn tick(&mut self, x: f64, label: &str) {
        let bottom = self.plot.bottom();
        self.canvas.line(&[(x, bottom), (x, bottom + 5.0)], Stroke::new(INK, 1.2));
        self.canvas.text((x, bottom + 17.0), label, Type::new(12.0, Anchor::Middle));
    }

    /// An interval as a thin bar with caps.
    pub(super) fn error_bar(&mut self, x: f64, (low, high): (f64, f64), colour: &str) {
        let (low, high) = (self.y(low), self.y(high));
        let stroke = Stroke::new(colour, 1.3);
        self.canvas.line(&[(x, low), (x, high)], stroke);
        for y in [low, high] {
            self.canvas.line(&[(x - 3.5, y), (x + 3.5, y)], stroke);
        }
    }

    fn axes(&mut self, labels: &Labels<'_>) {
        let (left, right, bottom) = (self.plot.left, self.plot.right(), self.plot.bottom());
        let percents =
            [0, 20, 40, 60, 80, 100].map(|percent: u8| (f64::from(percent) / 100.0, percent.to_string()));
        let (ticks, unit) = match labels.axis {
            Axis::Percent => (&percents[..], " (%)"),
            Axis::Ticks(ticks) => (ticks, ""),
        };
        for (share, label) in ticks {
            let y = self.y(*share);
            self.canvas.line(&[(left, y), (right, y)], Stroke::new(RULE, 1.0));
            self.canvas.text((left - 9.0, y), label, Type::new(12.0, Anchor::End));
        }
        self.canvas.line(&[(left, bottom), (right, bottom)], Stroke::new(INK, 1.2));
        let style = Type { is_upright: true, ..Type::new(13.0, Anchor::Middle) };
        self.canvas.text((MARGIN, self.plot.middle().1), &format!("{}{unit}", labels.score), style);
        let below = (self.plot.middle().0, bottom + 42.0);
        self.canvas.text(below, labels.below, Type::new(13.0, Anchor::Middle));
    }
}

const CHANCE: Stroke<'_> = Stroke { colour: INK, width: 1.3, is_dashed: true };

/// Where the entries of the legend begin, in lines that are no wider than the picture.
fn legend_places(entries: &[&str], width: f64) -> Vec<Point> {
    let (mut x, mut y) = (MARGIN, LEGEND);
    let mut places = Vec::new();
    for entry in entries {
        let needed = KEY + text_width(entry, 13.0);
        if x > MARGIN && x + needed > width - MARGIN {
            (x, y) = (MARGIN, y + 20.0);
        }
        places.push((x, y));
        x += needed + SPACE;
    }
    places
}
