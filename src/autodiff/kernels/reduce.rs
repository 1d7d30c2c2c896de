//! Sums and maxima along a row, in parts that stand side by side in vectors.

use std::ops::Range;

use crate::autodiff::{Real, Rows, Scalar};

/// Parts of a sum or a maximum: enough vectors to hide the latency of an addition, and exact besides.
pub(super) const LANES: usize = 32;

/// Calls `work` with one range of at most [`LANES`] numbers after another. The length of all but the last is known to the
/// compiler: rows that are cut to a range are read without a look at their bounds.
#[inline(always)]
fn chunks(count: usize, mut work: impl FnMut(Range<usize>)) {
    let whole = count - count % LANES;
    let mut base = 0;
    while base < whole {
        work(base..base + LANES);
        base += LANES;
    }
    if whole < count {
        work(whole..count);
    }
}

/// The sum of `count` terms: `add` adds those of a range to the first of the partial sums, one to each.
#[inline(always)]
pub(super) fn sum<S: Scalar>(count: usize, mut add: impl FnMut(Range<usize>, &mut [S; LANES])) -> S {
    let mut partial = [S::of(0.0); LANES];
    chunks(
        count,
        #[inline(always)]
        |range| add(range, &mut partial),
    );
    partial.into_iter().fold(S::of(0.0), |a, b| a + b)
}

/// `Σ xᵢ yᵢ` of rows of one length.
#[inline(always)]
pub(super) fn dot<S: Scalar>(x: Rows<'_, S>, y: Rows<'_, S>) -> S {
    sum(
        x.len(),
        #[inline(always)]
        |range, partial| {
            let (x, y) = (x.slice(range.clone()), y.slice(range));
            for (i, sum) in partial.iter_mut().enumerate().take(x.len()) {
                *sum = *sum + x.get(i) * y.get(i);
            }
        },
    )
}

/// The largest of some numbers, at least one; NaN is passed over.
#[inline(always)]
pub(super) fn largest<R: Real>(numbers: &[R]) -> R {
    let larger = |a: R, b: R| if b > a { b } else { a };
    let mut partial = [numbers[0]; LANES];
    chunks(
        numbers.len(),
        #[inline(always)]
        |range| partial.iter_mut().zip(&numbers[range]).for_each(|(p, &number)| *p = larger(*p, number)),
    );
    partial.into_iter().fold(numbers[0], larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_maxima_of_any_length_are_those_of_all_numbers() {
        for count in 1..100 {
            for place in 0..count {
                let numbers: Vec<f64> =
                    (0..count).map(|i| if i == place { 3.0 } else { i as f64 / -4.0 }).collect();
                assert_eq!(largest(&numbers), 3.0);
            }
            let all = sum(count, |range, partial: &mut [f64; LANES]| {
                partial.iter_mut().zip(range).for_each(|(p, i)| *p += i as f64);
            });
            assert_eq!(all, (count * (count - 1) / 2) as f64);
        }
    }
}
