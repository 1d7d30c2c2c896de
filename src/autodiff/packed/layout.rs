//! How a packed factor lies in memory: panels of 16 columns, one behind the other.

use half::bf16;
use rayon::prelude::*;

use super::micro::PANEL;

/// Panels that kernels take two by two: columns are padded to a multiple of two panels, with zeros.
const COLUMNS: usize = 2 * PANEL;

/// Rows of a panel that are packed at a time.
const ROWS_AT_ONCE: usize = 32;

/// A number as a panel holds it.
pub(super) trait Packable: Copy + Default + Send + Sync + 'static {
    /// Rows of a panel that are interleaved; and the depth is padded to a multiple of this, with zeros.
    const INTERLEAVED: usize;
    const DEPTH: usize;
    /// As f32.
    fn widen(self) -> f32;
}

impl Packable for f32 {
    const INTERLEAVED: usize = 1;
    const DEPTH: usize = 1;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Packable for bf16 {
    const INTERLEAVED: usize = 2;
    const DEPTH: usize = 32;
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// A matrix `(depth, columns)` in panels.
#[derive(Debug)]
pub(super) struct Panels<T> {
    pub depth: usize,
    pub columns: usize,
    /// Depth with its padding.
    pub padded: usize,
    pub numbers: Vec<T>,
}

impl<T: Packable> Panels<T> {
    /// Packs the numbers that `number(row, column)` gives, on all cores.
    pub fn pack(depth: usize, columns: usize, number: impl Fn(usize, usize) -> T + Sync) -> Self {
        let padded = depth.next_multiple_of(T::DEPTH);
        let panel = PANEL * padded;
        let mut numbers = vec![T::default(); columns.div_ceil(COLUMNS) * COLUMNS * padded];
        if panel > 0 {
            numbers.par_chunks_mut(panel).enumerate().for_each(|(index, panel)| {
                let first = index * PANEL;
                let width = columns.saturating_sub(first).min(PANEL);
                // A few rows at a time: both sides stay in the first cache, whichever way the source lies.
                for start in (0..depth).step_by(ROWS_AT_ONCE) {
                    for column in 0..width {
                        for row in start..depth.min(start + ROWS_AT_ONCE) {
                            panel[Self::place(row, column)] = number(row, first + column);
                        }
                    }
                }
            });
        }
        Self { depth, columns, padded, numbers }
    }

    /// Where a number of a panel stands in it.
    #[inline(always)]
    fn place(row: usize, column: usize) -> usize {
        let (group, nth) = (row / T::INTERLEAVED, row % T::INTERLEAVED);
        (group * PANEL + column) * T::INTERLEAVED + nth
    }

    /// Number of panels that have a column of the matrix.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// From a panel to the next.
    pub fn stride(&self) -> usize {
        PANEL * self.padded
    }

    /// A number of the matrix.
    #[inline(always)]
    pub fn get(&self, row: usize, column: usize) -> T {
        self.numbers[column / PANEL * self.stride() + Self::place(row, column % PANEL)]
    }

    /// `depth` rows of a panel from `first` on, both multiples of the interleaving.
    pub fn rows(&self, panel: usize, first: usize, depth: usize) -> &[T] {
        let start = panel * self.stride() + first * PANEL;
        &self.numbers[start..start + depth * PANEL]
    }
}

/// Widens rows of a panel in bf16 to rows of 16 numbers in f32.
pub(super) fn widen(rows: &[bf16], into: &mut [f32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let (pairs, _) = rows.as_chunks::<{ 2 * PANEL }>();
            let (wide, _) = into.as_chunks_mut::<{ 2 * PANEL }>();
            for (pairs, wide) in pairs.iter().zip(wide) {
                for column in 0..PANEL {
                    wide[column] = pairs[2 * column].widen();
                    wide[PANEL + column] = pairs[2 * column + 1].widen();
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Packable + PartialEq + std::fmt::Debug>(of: fn(f32) -> T) {
        for (depth, columns) in [(1, 1), (3, 5), (32, 16), (33, 17), (64, 49)] {
            let number = |row: usize, column: usize| of((row * 100 + column) as f32 / 7.0);
            let panels = Panels::pack(depth, columns, number);
            assert_eq!(panels.numbers.len() % (COLUMNS * T::DEPTH), 0);
            for row in 0..depth {
                for column in 0..columns {
                    assert_eq!(
                        panels.get(row, column),
                        number(row, column),
                        "{depth} {columns} {row} {column}"
                    );
                }
            }
            let total: f32 = panels.numbers.iter().map(|number| number.widen()).sum();
            let expected: f32 =
                (0..depth).flat_map(|r| (0..columns).map(move |c| number(r, c).widen())).sum();
            assert!((total - expected).abs() <= 1e-5 * expected, "what is not of the matrix is zero");
        }
    }

    #[test]
    fn every_number_is_found_again_and_the_rest_is_zero() {
        check::<f32>(|number| number);
        check(bf16::from_f32);
    }

    #[test]
    fn rows_in_bf16_are_widened_one_after_the_other() {
        let number = |row: usize, column: usize| bf16::from_f32((row * 100 + column) as f32 / 7.0);
        let panels = Panels::pack(40, 17, number);
        let mut wide = vec![0.0; 30 * PANEL];
        widen(panels.rows(0, 2, 30), &mut wide);
        for (index, &found) in wide.iter().enumerate() {
            assert_eq!(found, number(index / PANEL + 2, index % PANEL).to_f32());
        }
    }
}
