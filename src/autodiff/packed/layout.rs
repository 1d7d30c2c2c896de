//! How a packed factor lies in memory: panels of 16 columns, one behind the other.

use half::bf16;
use rayon::prelude::*;

use super::aligned::Aligned;
use super::micro::PANEL;
use crate::vectors::vectorised;

/// Panels that kernels take two by two: columns are padded to a multiple of two panels, with zeros.
const COLUMNS: usize = 2 * PANEL;

/// Rows of a panel that are packed at a time.
const ROWS_AT_ONCE: usize = 32;

/// The depth is padded to a multiple of this, with zeros: what a tile of AMX takes.
const DEPTH: usize = 32;

/// A number of bf16 as f32, exactly.
#[inline(always)]
pub(super) fn widened(number: bf16) -> f32 {
    f32::from_bits(u32::from(number.to_bits()) << 16)
}

/// A matrix `(depth, columns)` of bf16 in panels. Two rows of a panel are interleaved, number by number, as instructions
/// that multiply pairs want them.
#[derive(Debug)]
pub(super) struct Panels {
    pub depth: usize,
    pub columns: usize,
    /// Depth with its padding.
    pub padded: usize,
    numbers: Aligned,
}

impl Panels {
    /// Packs the numbers that `number(row, column)` gives, on all cores.
    pub fn pack(depth: usize, columns: usize, number: impl Fn(usize, usize) -> bf16 + Sync) -> Self {
        let padded = depth.next_multiple_of(DEPTH);
        let panel = PANEL * padded;
        let mut numbers = Aligned::zeros(Self::len(depth, columns));
        if panel > 0 {
            numbers.par_chunks_mut(panel).enumerate().for_each(|(index, panel)| {
                let first = index * PANEL;
                let width = columns.saturating_sub(first).min(PANEL);
                // A few rows at a time: both sides stay in the first cache, whichever way the source lies.
                for start in (0..depth).step_by(ROWS_AT_ONCE) {
                    for column in 0..width {
                        for row in start..depth.min(start + ROWS_AT_ONCE) {
                            panel[place(row, column)] = number(row, first + column);
                        }
                    }
                }
            });
        }
        Self { depth, columns, padded, numbers }
    }

    /// How many numbers a matrix has with its padding.
    fn len(depth: usize, columns: usize) -> usize {
        columns.div_ceil(COLUMNS) * COLUMNS * depth.next_multiple_of(DEPTH)
    }

    /// How much memory a matrix takes in panels, in bytes.
    pub fn bytes_of(depth: usize, columns: usize) -> usize {
        Self::len(depth, columns) * size_of::<bf16>()
    }

    /// From a panel to the next.
    pub fn stride(&self) -> usize {
        PANEL * self.padded
    }

    /// A number of the matrix.
    #[inline(always)]
    pub fn get(&self, row: usize, column: usize) -> bf16 {
        self.numbers[column / PANEL * self.stride() + place(row, column % PANEL)]
    }

    /// `depth` rows of a panel from `first` on, both even.
    pub fn rows(&self, panel: usize, first: usize, depth: usize) -> &[bf16] {
        let start = panel * self.stride() + first * PANEL;
        &self.numbers[start..start + depth * PANEL]
    }
}

/// Where a number of a panel stands in it.
#[inline(always)]
fn place(row: usize, column: usize) -> usize {
    (row / 2 * PANEL + column) * 2 + row % 2
}

/// Widens rows of a panel to rows of 16 numbers in f32.
pub(super) fn widen(rows: &[bf16], into: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            let (pairs, _) = rows.as_chunks::<{ 2 * PANEL }>();
            let (wide, _) = into.as_chunks_mut::<{ 2 * PANEL }>();
            for (pairs, wide) in pairs.iter().zip(wide) {
                for column in 0..PANEL {
                    wide[column] = widened(pairs[2 * column]);
                    wide[PANEL + column] = widened(pairs[2 * column + 1]);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(row: usize, column: usize) -> bf16 {
        bf16::from_f32((row * 100 + column + 1) as f32 / 7.0)
    }

    #[test]
    fn every_number_is_found_again_and_the_rest_is_zero() {
        for (depth, columns) in [(1, 1), (3, 5), (32, 16), (33, 17), (64, 49)] {
            let panels = Panels::pack(depth, columns, number);
            assert_eq!(panels.numbers.len() % (COLUMNS * DEPTH), 0);
            for row in 0..depth {
                for column in 0..columns {
                    assert_eq!(
                        panels.get(row, column),
                        number(row, column),
                        "{depth} {columns} {row} {column}"
                    );
                }
            }
            let others = panels.numbers.iter().filter(|number| **number != bf16::ZERO).count();
            assert_eq!(others, depth * columns);
        }
    }

    #[test]
    fn rows_are_widened_one_after_the_other() {
        let panels = Panels::pack(40, 17, number);
        let mut wide = vec![0.0; 30 * PANEL];
        widen(panels.rows(0, 2, 30), &mut wide);
        for (index, &found) in wide.iter().enumerate() {
            assert_eq!(found, number(index / PANEL + 2, index % PANEL).to_f32());
        }
    }
}
