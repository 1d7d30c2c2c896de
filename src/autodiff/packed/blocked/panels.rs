//! Portions of a matrix in blocks as the panels that kernels multiply with.

use std::ops::Range;

use super::super::micro::PANEL;
use super::super::widened::{MOST_DEPTH, Portion, Widened};
use super::Blocked;
use crate::vectors::vectorised;

/// Numbers of a row that are taken apart at a time: 16 rows of them stay in the first cache.
const AT_ONCE: usize = 256;

/// Rows of W that a portion has on the way back: with as many columns as are taken at once they stay in the second
/// cache.
const BACK_DEPTH: usize = 256;

/// Wᵀ, `(in, out)`: a panel is 16 rows of W, turned.
pub(super) struct Along<'a>(pub &'a Blocked);

impl Widened for Along<'_> {
    fn dims(&self) -> (usize, usize) {
        (self.0.width, self.0.out)
    }

    fn portion(&self) -> Portion {
        Portion { panels: 1, depth: MOST_DEPTH, step: AT_ONCE }
    }

    fn widen<'w>(
        &self,
        panels: Range<usize>,
        first: usize,
        depth: usize,
        into: impl Iterator<Item = &'w mut [f32]>,
    ) {
        let mut rows = [0f32; PANEL * AT_ONCE];
        for (panel, into) in panels.zip(into) {
            let start = panel * PANEL;
            let range = start..self.0.out.min(start + PANEL);
            for (nth, into) in into.chunks_mut(PANEL * AT_ONCE).enumerate().take(depth.div_ceil(AT_ONCE)) {
                let columns = first + nth * AT_ONCE..first + depth.min((nth + 1) * AT_ONCE);
                let width = columns.len();
                self.0.decode(range.clone(), columns, &mut rows[..range.len() * width]);
                turn(&rows, width, into);
            }
        }
    }
}

/// 16 rows of `width` numbers as `width` rows of 16.
fn turn(rows: &[f32], width: usize, into: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            let (into, _) = into.as_chunks_mut::<PANEL>();
            for (column, into) in into.iter_mut().enumerate().take(width) {
                for (row, number) in into.iter_mut().enumerate() {
                    *number = rows[row * width + column];
                }
            }
        },
    );
}

/// W, `(out, in)`: a panel is 16 columns of W.
pub(super) struct Across<'a>(pub &'a Blocked);

impl Widened for Across<'_> {
    fn dims(&self) -> (usize, usize) {
        self.0.dims()
    }

    fn portion(&self) -> Portion {
        Portion { panels: self.0.block().max(AT_ONCE / 2) / PANEL, depth: BACK_DEPTH, step: PANEL }
    }

    fn widen<'w>(
        &self,
        panels: Range<usize>,
        first: usize,
        depth: usize,
        into: impl Iterator<Item = &'w mut [f32]>,
    ) {
        let columns = panels.start * PANEL..self.0.width.min(panels.end * PANEL);
        let width = columns.len();
        let mut into: Vec<&mut [f32]> = into.take(panels.len()).collect();
        let mut rows = [0f32; PANEL * AT_ONCE];
        let at_once = rows.len() / width.max(1);
        for start in (0..depth).step_by(at_once) {
            let range = start..depth.min(start + at_once);
            let rows = &mut rows[..range.len() * width];
            self.0.decode(first + range.start..first + range.end, columns.clone(), rows);
            for (row, numbers) in range.zip(rows.chunks(width.max(1))) {
                for (into, numbers) in into.iter_mut().zip(numbers.chunks(PANEL)) {
                    into[row * PANEL..][..numbers.len()].copy_from_slice(numbers);
                }
            }
        }
    }
}
