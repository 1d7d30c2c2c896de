//! Shapes and text, written down as SVG.

use std::fmt::Write;

/// A place: to the right, and down.
pub(super) type Point = (f64, f64);

/// The font of all text; others take its place where it is not installed.
const FONTS: &str = "DejaVu Sans, Verdana, Geneva, sans-serif";

const RIM: &str = " stroke=\"#ffffff\" stroke-width=\"3\" stroke-linejoin=\"round\" paint-order=\"stroke\"";

pub(super) const INK: &str = "#222222";
pub(super) const FAINT: &str = "#666666";
pub(super) const RULE: &str = "#e3e3e3";

/// A rectangle that lies along the axes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) fn right(self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(self) -> f64 {
        self.top + self.height
    }

    pub(super) fn middle(self) -> Point {
        (self.left + self.width / 2.0, self.top + self.height / 2.0)
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke<'a> {
    pub(super) colour: &'a str,
    pub(super) width: f64,
    pub(super) is_dashed: bool,
}

impl<'a> Stroke<'a> {
    pub(super) fn new(colour: &'a str, width: f64) -> Self {
        Self { colour, width, is_dashed: false }
    }

    fn attributes(self) -> String {
        let dashes = if self.is_dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        format!(
            "fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"{dashes}",
            self.colour, self.width
        )
    }
}

/// Which part of a text stands at its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type<'a> {
    pub(super) size: f64,
    pub(super) anchor: Anchor,
    pub(super) colour: &'a str,
    pub(super) is_bold: bool,
    /// Reads upwards.
    pub(super) is_upright: bool,
    /// Has a white rim, to be read over lines.
    pub(super) has_rim: bool,
}

impl Type<'static> {
    pub(super) fn new(size: f64, anchor: Anchor) -> Self {
        Self { size, anchor, colour: INK, is_bold: false, is_upright: false, has_rim: false }
    }
}

/// A drawing in the making, on white.
#[derive(Debug)]
pub(super) struct Canvas {
    width: f64,
    height: f64,
    body: String,
}

impl Canvas {
    /// The size is rounded up to whole pixels.
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut canvas = Self { width: width.ceil(), height: height.ceil(), body: String::new() };
        let all = Area { left: 0.0, top: 0.0, width: canvas.width, height: canvas.height };
        canvas.rect(all, "#ffffff", 1.0);
        canvas
    }

    pub(super) fn rect(&mut self, area: Area, fill: &str, opacity: f64) {
        let Area { left, top, width, height } = area;
        self.add(format_args!(
            "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{fill}\" fill-opacity=\"{opacity}\"/>"
        ));
    }

    pub(super) fn line(&mut self, points: &[Point], stroke: Stroke<'_>) {
        self.add(format_args!("<polyline points=\"{}\" {}/>", list(points), stroke.attributes()));
    }

    pub(super) fn polygon(&mut self, points: &[Point], fill: &str, opacity: f64) {
        self.add(format_args!(
            "<polygon points=\"{}\" fill=\"{fill}\" fill-opacity=\"{opacity}\"/>",
            list(points)
        ));
    }

    pub(super) fn circle(&mut self, (x, y): Point, radius: f64, fill: &str) {
        self.add(format_args!("<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius:.2}\" fill=\"{fill}\"/>"));
    }

    /// What is said where the pointer rests in an area.
    pub(super) fn hint(&mut self, area: Area, text: &str) {
        let Area { left, top, width, height } = area;
        self.add(format_args!(
            "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill-opacity=\"0\"><title>{}</title></rect>",
            escape(text)
        ));
    }

    /// A text whose small letters have their middle at the height of `at`.
    pub(super) fn text(&mut self, at: Point, text: &str, style: Type<'_>) {
        let (x, y) = at;
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let rim = if style.has_rim { RIM } else { "" };
        let weight = if style.is_bold { " font-weight=\"bold\"" } else { "" };
        let turn = if style.is_upright {
            format!(" transform=\"rotate(-90 {x:.2} {y:.2})\"")
        } else {
            String::new()
        };
        self.add(format_args!(
            "<text x=\"{x:.2}\" y=\"{:.2}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{}\"{weight}{turn}{rim}>{}</text>",
            y + 0.36 * style.size,
            style.size,
            style.colour,
            escape(text)
        ));
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        // Whole numbers, and far below 2³².
        (self.width as u32, self.height as u32)
    }

    /// The SVG document.
    pub(super) fn finish(self) -> String {
        let (width, height) = self.size();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"{FONTS}\">\n{}</svg>\n",
            self.body
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// About how wide a text is; for the places of other things, with a little to spare.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let ems = text.chars().map(|letter| match letter {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' | ' ' | '!' => 0.34,
        'f' | 't' | 'r' | '-' | '(' | ')' => 0.41,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
        'A'..='Z' => 0.72,
        _ if letter.is_ascii() => 0.62,
        _ => 1.0,
    });
    size * ems.sum::<f64>()
}

fn list(points: &[Point]) -> String {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
    points.join(" ")
}

/// XML knows neither markup signs nor control characters in a text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            _ if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            _ => escaped.push(letter),
        }
    }
    escaped
}
