//! Colours of methods and of scores.

use super::canvas::{Canvas, Point};

/// Colours that people who are colour-blind tell apart too (Okabe & Ito 2008).
const PALETTE: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"];

/// Red, yellow and green at 0, 1/2 and 1.
const RAMP: [[f64; 3]; 3] = [[215.0, 66.0, 53.0], [254.0, 226.0, 137.0], [38.0, 146.0, 84.0]];

/// The colour of the method of this index.
pub(super) fn method_colour(index: usize) -> &'static str {
    PALETTE[index % PALETTE.len()]
}

/// A mark of the method's own shape and colour.
pub(super) fn mark(canvas: &mut Canvas, (x, y): Point, index: usize) {
    let colour = method_colour(index);
    let polygon = |canvas: &mut Canvas, corners: &[Point]| {
        let corners: Vec<Point> = corners.iter().map(|(right, down)| (x + right, y + down)).collect();
        canvas.polygon(&corners, colour, 1.0);
    };
    match index % 4 {
        0 => canvas.circle((x, y), 4.2, colour),
        1 => polygon(canvas, &[(-3.8, -3.8), (3.8, -3.8), (3.8, 3.8), (-3.8, 3.8)]),
        2 => polygon(canvas, &[(0.0, -5.0), (4.8, 3.6), (-4.8, 3.6)]),
        _ => polygon(canvas, &[(0.0, -5.4), (5.4, 0.0), (0.0, 5.4), (-5.4, 0.0)]),
    }
}

/// From red at 0 by yellow to green at 1, and the colour of text that is read well on it.
pub(super) fn score_colours(score: f64) -> (String, &'static str) {
    let place = 2.0 * score.clamp(0.0, 1.0);
    let (low, high) = if place < 1.0 { (RAMP[0], RAMP[1]) } else { (RAMP[1], RAMP[2]) };
    let part = if place < 1.0 { place } else { place - 1.0 };
    let [red, green, blue] = [0, 1, 2].map(|channel| low[channel] + part * (high[channel] - low[channel]));
    // Rec. 601 luma.
    let is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 125.0;
    let fill = format!("#{:02x}{:02x}{:02x}", red.round() as u8, green.round() as u8, blue.round() as u8);
    (fill, if is_dark { "#ffffff" } else { "#222222" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_run_from_red_by_yellow_to_green_and_no_further() {
        assert_eq!(score_colours(0.0).0, "#d74235");
        assert_eq!(score_colours(0.5).0, "#fee289");
        assert_eq!(score_colours(1.0).0, "#269254");
        assert_eq!(score_colours(7.0), score_colours(1.0));
        assert_eq!(score_colours(0.5).1, "#222222");
        assert_eq!(score_colours(1.0).1, "#ffffff");
    }
}
