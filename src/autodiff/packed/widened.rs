//! Right factors that are made f32 a portion at a time, for the kernels that multiply in f32.

use std::ops::Range;

use super::layout::{Panels, widen};

/// Deepest part of a panel that is multiplied at a time, so that it stays in the second cache: a multiple of 32.
pub(super) const MOST_DEPTH: usize = 1024;
/// What all but the last part of a panel are a multiple of.
pub(super) const DEPTH_STEP: usize = 32;

/// A right factor `(depth, columns)` whose numbers are made f32 a few panels at a time.
pub(super) trait Widened: Sync {
    /// Depth and columns.
    fn dims(&self) -> (usize, usize);

    /// What it is best widened in.
    fn portion(&self) -> Portion;

    /// Widens `depth` rows from `first` on of some panels, each into a place of its own, in rows of 16 numbers. What is
    /// beyond the last column need not be written.
    fn widen<'w>(
        &self,
        panels: Range<usize>,
        first: usize,
        depth: usize,
        into: impl Iterator<Item = &'w mut [f32]>,
    );
}

/// A portion of a factor.
pub(super) struct Portion {
    /// Panels that are widened at a time.
    pub panels: usize,
    /// Rows of them, at most: a multiple of `step`.
    pub depth: usize,
    /// What rows begin at a multiple of.
    pub step: usize,
}

impl Widened for Panels {
    fn dims(&self) -> (usize, usize) {
        (self.depth, self.columns)
    }

    fn portion(&self) -> Portion {
        Portion { panels: 1, depth: MOST_DEPTH, step: DEPTH_STEP }
    }

    fn widen<'w>(
        &self,
        panels: Range<usize>,
        first: usize,
        depth: usize,
        into: impl Iterator<Item = &'w mut [f32]>,
    ) {
        let even = depth.next_multiple_of(2);
        panels.zip(into).for_each(|(panel, into)| widen(self.rows(panel, first, even), into));
    }
}

/// Cuts a depth into parts of at most `most`, of about one size and all but the last a multiple of `step`.
pub(super) fn blocks(depth: usize, most: usize, step: usize, mut work: impl FnMut(usize, usize)) {
    let each = depth.div_ceil(depth.div_ceil(most).max(1)).next_multiple_of(step);
    let mut first = 0;
    loop {
        let here = each.min(depth - first);
        work(first, here);
        first += here;
        if first >= depth {
            break;
        }
    }
}
