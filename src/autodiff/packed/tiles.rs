//! Products on the tiles of AMX: the loops around them.

#![allow(unsafe_code)] // Calls the tiles, which take pointers: threads share the target by columns or rows.

use std::ops::Range;

use half::bf16;

use super::amx::{SIDE, TilePlace, TileTerm, Tiles};
use super::layout::Panels;
use super::micro;
use super::multiply::{Product, Shared};
use super::planes::{MOST, Planes};
use super::varying::{Cut, Low};
use super::widened::{DEPTH_STEP, MOST_DEPTH, blocks};

/// Rows of one plane, of that depth, which fit the second cache beside a panel.
const MOST_ROWS: usize = 512;

/// A block of a target that may be cut off at its last row or column.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first number, and from a row to the next.
    pub c: *mut f32,
    pub stride: usize,
    /// Rows and columns that are there, beyond the block's own too.
    pub rows: usize,
    pub columns: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

/// The products that go to one block.
pub(super) struct Terms {
    all: [TileTerm; Self::MOST],
    count: usize,
}

impl Terms {
    /// The product with the frozen factor, and of two low-rank ones the products of their planes.
    const MOST: usize = 5;

    pub fn new() -> Self {
        let none = TileTerm {
            planes: [std::ptr::null(); MOST],
            count: 0,
            a_stride: 0,
            b: std::ptr::null(),
            panel_stride: 0,
            depth: 0,
            ahead: std::ptr::null(),
        };
        Self { all: [none; Self::MOST], count: 0 }
    }

    pub fn push(&mut self, term: TileTerm) {
        self.all[self.count] = term;
        self.count += 1;
    }

    /// A product of two factors that are both cut into planes, panels from row `first` on: all products but that of the
    /// second planes, which is as small as what two planes leave of a number.
    pub fn push_cut(
        &mut self,
        (planes, a_stride): ([*const bf16; MOST], usize),
        right: &Cut,
        at: &PanelPart,
    ) {
        let &PanelPart { panel, first, depth } = at;
        for plane in 0..right.planes {
            let b = right.rows(panel, plane, first).as_ptr();
            let count = right.planes - plane;
            self.push(TileTerm { planes, count, a_stride, b, panel_stride: right.stride(), depth, ahead: b });
        }
    }

    /// Multiplies, and writes or adds the sum to a block.
    ///
    /// # Safety
    /// All terms must have 32 rows and two panels of their depth, and the place its rows and columns; where the product is
    /// added, it must hold numbers.
    pub unsafe fn write(&self, tiles: &Tiles, place: Place) {
        let terms = &self.all[..self.count];
        let Place { c, stride, rows, columns, add } = place;
        if rows >= SIDE && columns >= SIDE {
            // SAFETY: by the caller's word.
            return unsafe { tiles.multiply(TilePlace { c, c_stride: stride, add }, terms) };
        }
        let mut sums = [0f32; SIDE * SIDE];
        let whole = TilePlace { c: sums.as_mut_ptr(), c_stride: SIDE, add: false };
        // SAFETY: by the caller's word, and the sums are those of a whole block.
        unsafe { tiles.multiply(whole, terms) };
        for (nth, sums) in sums.as_chunks::<SIDE>().0.iter().enumerate().take(rows) {
            // SAFETY: by the caller's word the place has the rows and columns.
            unsafe { micro::write(c.add(nth * stride), columns.min(SIDE), add, sums) };
        }
    }
}

/// Some rows of two panels of a right factor.
pub(super) struct PanelPart {
    /// The first of the two.
    pub panel: usize,
    pub first: usize,
    pub depth: usize,
}

impl Product<'_> {
    /// Some panels, two at a time, by AMX.
    ///
    /// # Safety
    /// AMX must have been granted.
    pub unsafe fn by_tiles(
        &self,
        target: Shared,
        panels: &Panels,
        range: Range<usize>,
        planes: &Planes,
        low: &[Low],
    ) {
        // SAFETY: by the caller's word.
        let tiles = unsafe { Tiles::configure() };
        // As many rows as the second cache holds beside a panel, of all planes.
        let together = MOST_ROWS / planes.count / SIDE * SIDE;
        blocks(panels.padded, MOST_DEPTH, DEPTH_STEP, |first, depth| {
            let low = if first + depth == panels.padded { low } else { &[] };
            for rows in (0..self.rows).step_by(together) {
                for panel in range.clone().step_by(2) {
                    for (nth, row) in (rows..self.rows.min(rows + together)).step_by(SIDE).enumerate() {
                        // The two panels to come, an eighth for each of the first eight blocks of rows; at the end these.
                        let (behind, part) = if panel + 3 < range.end { (2, nth % 8) } else { (0, 0) };
                        let ahead = panels.rows(panel + behind + part / 4, first, depth).as_ptr();
                        // In quarters of a panel of 16 numbers a row.
                        let ahead = ahead.wrapping_add(part % 4 * 4 * depth);
                        let at = Tile { panels, panel, planes, low, row, first, depth, ahead };
                        // SAFETY: the row and the panel are there, and so is the depth from the first row of the panel on.
                        unsafe { self.by_tile(&tiles, target, &at) }
                    }
                }
            }
        });
    }

    /// A block of 32 rows and two panels by AMX.
    ///
    /// # Safety
    /// Row, panels, and depth must be there.
    unsafe fn by_tile(&self, tiles: &Tiles, target: Shared, at: &Tile<'_>) {
        let &Tile { panels, panel, planes, low, row, first, depth, ahead } = at;
        let mut terms = Terms::new();
        terms.push(TileTerm {
            planes: planes.pointers(row, first),
            count: planes.count,
            a_stride: planes.stride(),
            b: panels.rows(panel, first, depth).as_ptr(),
            panel_stride: panels.stride(),
            depth,
            ahead,
        });
        for low in low.iter().filter(|low| low.panels.contains(&panel)) {
            let left = (low.left.pointers(row, 0), low.left.stride());
            let at = PanelPart { panel: panel - low.panels.start, first: 0, depth: low.right.padded };
            terms.push_cut(left, &low.right, &at);
        }
        let place = Place {
            c: self.place(target, row, panel),
            stride: self.target_stride,
            rows: self.rows - row,
            columns: panels.columns - panel * micro::PANEL,
            add: self.add || first > 0,
        };
        // SAFETY: planes are padded to a multiple of 32 rows and panels to an even number, both to the same depth, and `check`
        // has seen the target.
        unsafe { terms.write(tiles, place) }
    }
}

/// A block of a product with a packed factor.
struct Tile<'a> {
    panels: &'a Panels,
    /// The first of two panels.
    panel: usize,
    planes: &'a Planes,
    low: &'a [Low],
    row: usize,
    /// The first row of the panels, and how many.
    first: usize,
    depth: usize,
    /// What is fetched meanwhile.
    ahead: *const bf16,
}
