//! Axes of numbers that are known only when they come: linear or logarithmic, with round ticks.

/// Most ticks of a linear axis.
const TICKS: f64 = 6.0;
/// From where on the largest is so many times the smallest, an axis is logarithmic.
const ORDERS: f64 = 50.0;

/// Where numbers lie between the ends of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// An axis for these numbers, logarithmic where they have many orders of magnitude.
    pub(super) fn of(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let finite = numbers.filter(|number| number.is_finite());
        let low = finite.clone().fold(f64::INFINITY, f64::min);
        let high = finite.fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Self { low: 0.0, high: 1.0, is_log: false };
        }
        if low > 0.0 && high / low >= ORDERS {
            return Self { low, high, is_log: true };
        }
        // Numbers from zero up are seen against zero.
        let low = if low > 0.0 { 0.0 } else { low };
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, is_log: false }
    }

    /// An axis between two numbers.
    pub(super) fn between(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, is_log: false }
    }

    /// Where a number lies, 0 to 1 within the axis.
    pub(super) fn share(self, number: f64) -> f64 {
        match self.is_log {
            true => (number.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln(),
            false => (number - self.low) / (self.high - self.low),
        }
    }

    /// Whether it is logarithmic.
    pub(super) fn is_log(self) -> bool {
        self.is_log
    }

    /// Round numbers on the axis, with what is written beside them.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let numbers = if self.is_log { self.powers() } else { self.steps() };
        numbers.into_iter().map(|number| (self.share(number), plain(number))).collect()
    }

    fn powers(self) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        // Few powers of ten get others between them.
        let parts: &[f64] = if last - first <= 3 { &[1.0, 3.0] } else { &[1.0] };
        let all = (first..=last).flat_map(|power| parts.iter().map(move |part| part * 10f64.powi(power)));
        let stride = (all.clone().count() / 8).max(1);
        all.step_by(stride).filter(|number| (0.0..=1.0).contains(&self.share(*number))).collect()
    }

    fn steps(self) -> Vec<f64> {
        let rough = (self.high - self.low) / TICKS;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|part| part * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|count| count as f64 * step).collect()
    }
}

/// `0.25`, `300`, `1e-5`.
fn plain(number: f64) -> String {
    // Steps add up with rounding.
    let rounded: f64 = format!("{number:.6e}").parse().unwrap_or(number);
    match rounded.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e6).contains(&size) => format!("{rounded:e}"),
        _ => rounded.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn few_orders_are_seen_against_zero_with_round_steps() {
        let scale = Scale::of([0.31, 2.9].into_iter());
        assert!(!scale.is_log());
        assert_eq!(labels(scale), ["0", "0.5", "1", "1.5", "2", "2.5"]);
        assert_eq!(scale.share(1.45), 0.5);
    }

    #[test]
    fn many_orders_are_logarithmic_with_powers_of_ten() {
        let scale = Scale::of([0.002, 17_287.0, 3.0].into_iter());
        assert!(scale.is_log());
        assert_eq!(labels(scale), ["0.01", "0.1", "1", "10", "100", "1000", "10000"]);
        assert_eq!((scale.share(0.002), scale.share(17_287.0)), (0.0, 1.0));
        assert_eq!(labels(Scale::of([1e-5, 1e-3].into_iter())), ["1e-5", "3e-5", "1e-4", "3e-4", "0.001"]);
    }

    #[test]
    fn numbers_that_do_not_differ_or_are_none_have_an_axis_too() {
        for numbers in [vec![], vec![f64::NAN], vec![0.0], vec![0.5; 3], vec![-2.0, -2.0]] {
            let scale = Scale::of(numbers.iter().copied());
            assert!(!scale.ticks().is_empty(), "{numbers:?}");
            assert!(scale.ticks().iter().all(|(share, _)| (0.0..=1.0).contains(share)), "{numbers:?}");
        }
    }
}
