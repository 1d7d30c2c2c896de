//! Tables of numbers that are shown with a colour each: on a page, and in a terminal.

/// How a number becomes the depth of a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0 to the largest.
    FromZero,
    /// From the smallest to the largest, by their logarithms; numbers that have none are the palest.
    Logarithmic,
}

/// A table of numbers, each as deep in colour as it is large.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// What the numbers are.
    pub title: String,
    /// What the lines are, in the corner.
    pub corner: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the lines.
    pub lines: Vec<String>,
    /// The numbers, line by line; `None` where there is none.
    pub cells: Vec<Vec<Option<f64>>>,
    /// How deep a colour is.
    pub scale: Scale,
    /// The smallest and the largest number that the colours tell apart; of several tables that are compared, of all.
    pub range: (f64, f64),
}

impl Heat {
    /// How deep the colour of a number is, 0 to 1.
    pub fn depth(&self, number: f64) -> f64 {
        let (low, high) = self.range;
        let depth = match self.scale {
            Scale::FromZero => number / high,
            Scale::Logarithmic if high > low => (number / low).ln() / (high / low).ln(),
            Scale::Logarithmic => 0.5,
        };
        if depth.is_finite() { depth.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The smallest number above zero and the largest.
pub(super) fn range_of(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    numbers
        .filter(|number| *number > 0.0 && number.is_finite())
        .fold((f64::INFINITY, 0.0), |(low, high), x| (x.min(low), x.max(high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heat(scale: Scale, range: (f64, f64)) -> Heat {
        let [title, corner] = [(); 2].map(|()| String::new());
        Heat { title, corner, columns: vec![], lines: vec![], cells: vec![], scale, range }
    }

    #[test]
    fn the_largest_number_is_the_deepest_and_what_has_no_place_is_pale() {
        let numbers = [0.0, 1.0, 10.0, 100.0, f64::NAN, -1.0, 1e9];
        let linear = heat(Scale::FromZero, (1.0, 100.0));
        assert_eq!(numbers.map(|x| linear.depth(x)), [0.0, 0.01, 0.1, 1.0, 0.0, 0.0, 1.0]);
        let log = heat(Scale::Logarithmic, (1.0, 100.0));
        assert_eq!(numbers.map(|x| log.depth(x)), [0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(heat(Scale::Logarithmic, (2.0, 2.0)).depth(2.0), 0.5);
        assert_eq!(heat(Scale::FromZero, (f64::INFINITY, 0.0)).depth(0.0), 0.0);
    }

    #[test]
    fn the_range_leaves_out_what_colours_cannot_show() {
        assert_eq!(range_of([3.0, 0.0, f64::NAN, 0.5, f64::INFINITY].into_iter()), (0.5, 3.0));
        assert_eq!(range_of(std::iter::empty()).1, 0.0);
    }
}
