//! Products of two matrices that vary, on the tiles of AMX: both are cut into planes of bf16 on the way, a few rows or
//! columns at a time.

#![allow(unsafe_code)] // Calls kernels, which take pointers: threads share the target by rows or columns.

use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::aligned::Aligned;
use super::amx::{SIDE, Tiles};
use super::cut::{self, Block, Cutting};
use super::micro::PANEL;
use super::multiply::{FEW_ROWS, PARTS_PER_THREAD, PIECE, Shared};
use super::planes::{MOST, Planes};
use super::tiles::{PanelPart, Place, Terms};
use super::widened::{DEPTH_STEP, MOST_DEPTH, blocks};
use super::{CpuKernel, LowTerm, Target, View};
use crate::config::MatmulPrecision;
use crate::{Error, Result};

/// Most numbers of a left factor that a thread cuts whole: with two planes they fit half of the second cache.
const MOST_LEFT: usize = 1 << 18;

/// Blocks of rows, or pairs of panels, that are cut together: so many numbers of a factor stand side by side that memory
/// sends them ahead.
const CUT_AT_ONCE: usize = 4;

/// Numbers of a right factor that are worth cutting on several threads.
const CUT_TOGETHER: usize = 1 << 16;

/// Numbers of a plane in a row of a left factor behind which the next row begins: an odd number of lines of the cache.
fn row_stride(planes: usize, depth: usize) -> usize {
    ((planes * depth / SIDE) | 1) * SIDE
}

/// A right factor that varies, cut into planes: of each panel one plane behind the other.
pub(super) struct Cut {
    pub planes: usize,
    /// Depth with its padding.
    pub padded: usize,
    numbers: Aligned,
}

impl Cut {
    /// Cuts a factor. AMX must be available, and the view fit its numbers.
    unsafe fn new(view: &View<'_>, planes: usize) -> Self {
        let padded = view.rows.next_multiple_of(SIDE);
        let panel = planes * padded * PANEL;
        let len = view.columns.div_ceil(SIDE) * 2 * panel;
        let together = 2 * CUT_AT_ONCE;
        let work = |(nth, places): (usize, &mut [MaybeUninit<bf16>])| {
            let cutting = Cutting { first: nth * together, panels: places.len() / panel, depth: padded };
            // SAFETY: a machine with AMX has AVX512-BF16 and AVX512-BW; the places have room for all planes of the panels.
            unsafe { cut_panels(view, planes, cutting, places.as_mut_ptr().cast()) }
        };
        let cut = |places: &mut [MaybeUninit<bf16>]| match view.rows * view.columns < CUT_TOGETHER {
            true => places.chunks_mut((together * panel).max(1)).enumerate().for_each(work),
            false => places.par_chunks_mut(together * panel).enumerate().for_each(work),
        };
        // SAFETY: every panel is written whole.
        Self { planes, padded, numbers: unsafe { Aligned::written(len, cut) } }
    }

    /// From a panel to the next.
    pub fn stride(&self) -> usize {
        self.planes * self.padded * PANEL
    }

    /// A plane of a panel, from row `first` on.
    pub fn rows(&self, panel: usize, plane: usize, first: usize) -> &[bf16] {
        &self.numbers[panel * self.stride() + (plane * self.padded + first) * PANEL..]
    }
}

/// # Safety
/// As `cut::panels`.
unsafe fn cut_panels(view: &View<'_>, planes: usize, cutting: Cutting, into: *mut bf16) {
    // SAFETY: by the caller's word.
    unsafe {
        match planes {
            1 => cut::panels::<1>(view, cutting, into),
            _ => cut::panels::<2>(view, cutting, into),
        }
    }
}

/// # Safety
/// As `cut::left`.
unsafe fn cut_left(view: &View<'_>, planes: usize, block: Block) {
    // SAFETY: by the caller's word.
    unsafe {
        match planes {
            1 => cut::left::<1>(view, block),
            _ => cut::left::<2>(view, block),
        }
    }
}

/// A low-rank product that goes to some panels of one with a frozen matrix.
pub(super) struct Low {
    pub panels: Range<usize>,
    pub left: Planes,
    pub right: Cut,
}

/// Products of matrices of one size each, whose rows follow each other in the target.
struct Products<'a> {
    lefts: &'a [View<'a>],
    rights: &'a [View<'a>],
    planes: usize,
    target: Shared,
    stride: usize,
    add: bool,
}

/// `target (+)= left · right` for each pair, their rows behind each other in the target, of factors in `planes` planes.
///
/// # Errors
/// Factors that do not fit each other or the target.
pub(in crate::autodiff) fn multiply(
    (lefts, rights): (&[View<'_>], &[View<'_>]),
    planes: usize,
    target: Target<'_>,
) -> Result<()> {
    let (Some(left), Some(right)) = (lefts.first(), rights.first()) else { return Ok(()) };
    let (rows, columns) = (lefts.len() * left.rows, right.columns);
    let fits = |view: &View<'_>, like: &View<'_>| {
        view.fits() && (view.rows, view.columns) == (like.rows, like.columns)
    };
    let fit = lefts.iter().all(|view| fits(view, left)) && rights.iter().all(|view| fits(view, right));
    let room = rows == 0 || target.numbers.len() >= (rows - 1) * target.stride + columns;
    if !fit || !room || target.stride < columns || lefts.len() != rights.len() || left.columns != right.rows {
        let shapes = format!("({}, {}) and ({}, {columns})", left.rows, left.columns, right.rows);
        return Err(Error::Invalid(format!("no product of matrices {shapes}")));
    }
    let (target, stride, add) = (Shared(target.numbers.as_mut_ptr().cast()), target.stride, target.add);
    Products { lefts, rights, planes, target, stride, add }.run();
    Ok(())
}

impl Products<'_> {
    fn run(&self) {
        let (m, n) = (self.lefts[0].rows, self.rights[0].columns);
        if m * n == 0 {
            return;
        }
        if m <= n && m * self.depth() * self.planes <= MOST_LEFT {
            return self.in_parts(n.div_ceil(SIDE), |this, pairs| this.by_columns(pairs));
        }
        // SAFETY: AMX is available, and `multiply` has seen that views fit.
        let cut = |right: &View<'_>| unsafe { Cut::new(right, self.planes) };
        let cuts: Vec<Cut> = match self.rights {
            [one] => vec![cut(one)],
            several => several.par_iter().map(cut).collect(),
        };
        self.in_parts(m.div_ceil(SIDE), |this, blocks| this.by_rows(&cuts, blocks));
    }

    /// Depth with its padding.
    fn depth(&self) -> usize {
        self.rights[0].rows.next_multiple_of(SIDE)
    }

    /// Gives the threads `each` pieces of all products, some at a time.
    fn in_parts(&self, each: usize, work: impl Fn(&Self, Range<usize>) + Sync) {
        let (left, columns) = (&self.lefts[0], self.rights[0].columns);
        let count = each * self.lefts.len();
        let size = self.lefts.len() * left.rows * self.depth() * columns;
        let parts = (size / PIECE).clamp(1, PARTS_PER_THREAD * rayon::current_num_threads());
        let each = count.div_ceil(parts);
        let part = |nth: usize| nth * each..count.min((nth + 1) * each);
        match count.div_ceil(each) {
            1 => work(self, part(0)),
            parts => (0..parts).into_par_iter().for_each(|nth| work(self, part(nth))),
        }
    }

    /// Some blocks of 32 rows, counted through all products, by right factors that are cut.
    fn by_rows(&self, cuts: &[Cut], range: Range<usize>) {
        // SAFETY: AMX is available, or this would not have been called.
        let tiles = unsafe { Tiles::configure() };
        let (rows, columns) = (self.lefts[0].rows, self.rights[0].columns);
        let deepest = self.depth().min(MOST_DEPTH);
        let mut buffer = Aligned::zeros(CUT_AT_ONCE * SIDE * row_stride(self.planes, deepest));
        // Rows that lie along come one after the other in any case, and stay in the first cache one block at a time.
        let at_once = if self.lefts[0].column_stride == 1 { 1 } else { CUT_AT_ONCE };
        self.together(range, (rows.div_ceil(SIDE), at_once), |nth, some| {
            let row = some.start * SIDE;
            blocks(self.depth(), MOST_DEPTH, DEPTH_STEP, |first, depth| {
                let stride = row_stride(self.planes, depth);
                let block =
                    Block { into: buffer.as_mut_ptr(), stride, row, rows: some.len() * SIDE, first, depth };
                // SAFETY: `multiply` has seen that the view fits; the buffer has room for the deepest block.
                unsafe { cut_left(&self.lefts[nth], self.planes, block) };
                for (place, block) in some.clone().enumerate() {
                    let planes = self.pointers(buffer[place * SIDE * stride..].as_ptr(), depth);
                    for panel in (0..columns.div_ceil(PANEL)).step_by(2) {
                        let mut terms = Terms::new();
                        terms.push_cut((planes, stride), &cuts[nth], &PanelPart { panel, first, depth });
                        // SAFETY: the buffer holds 32 rows of each plane, and the cut two panels.
                        unsafe {
                            terms.write(&tiles, self.place(nth, block * SIDE, panel * PANEL, first > 0))
                        }
                    }
                }
            });
        });
    }

    /// Some pairs of panels, counted through all products, which are cut a few at a time.
    fn by_columns(&self, range: Range<usize>) {
        // SAFETY: AMX is available, or this would not have been called.
        let tiles = unsafe { Tiles::configure() };
        let (rows, columns, depth) = (self.lefts[0].rows, self.rights[0].columns, self.depth());
        let stride = row_stride(self.planes, depth);
        let padded_rows = rows.next_multiple_of(SIDE);
        let mut left = Aligned::zeros(padded_rows * stride);
        let numbers = Aligned::zeros(2 * CUT_AT_ONCE * self.planes * depth * PANEL);
        let mut right = Cut { planes: self.planes, padded: depth, numbers };
        let mut of = None;
        self.together(range, (columns.div_ceil(SIDE), CUT_AT_ONCE), |nth, some| {
            if of.replace(nth) != Some(nth) {
                let block =
                    Block { into: left.as_mut_ptr(), stride, row: 0, rows: padded_rows, first: 0, depth };
                // SAFETY: `multiply` has seen that the view fits; the buffer has room for all rows.
                unsafe { cut_left(&self.lefts[nth], self.planes, block) }
            }
            let cutting = Cutting { first: 2 * some.start, panels: 2 * some.len(), depth };
            // SAFETY: as above; there is room for so many panels.
            unsafe { cut_panels(&self.rights[nth], self.planes, cutting, right.numbers.as_mut_ptr()) }
            for (place, pair) in some.enumerate() {
                for row in (0..rows).step_by(SIDE) {
                    let mut terms = Terms::new();
                    let planes = self.pointers(left[row * stride..].as_ptr(), depth);
                    terms.push_cut(
                        (planes, stride),
                        &right,
                        &PanelPart { panel: 2 * place, first: 0, depth },
                    );
                    // SAFETY: the buffers hold 32 rows of each plane and two panels.
                    unsafe { terms.write(&tiles, self.place(nth, row, pair * SIDE, false)) }
                }
            }
        });
    }

    /// Cuts a range of pieces, of which each product has `each`, into at most `at_once` of one product at a time.
    fn together(
        &self,
        range: Range<usize>,
        (each, at_once): (usize, usize),
        mut work: impl FnMut(usize, Range<usize>),
    ) {
        let mut start = range.start;
        while start < range.end {
            let (nth, first) = (start / each, start % each);
            let count = at_once.min(each - first).min(range.end - start);
            work(nth, first..first + count);
            start += count;
        }
    }

    /// Where the planes of a block of rows begin.
    fn pointers(&self, first: *const bf16, depth: usize) -> [*const bf16; MOST] {
        std::array::from_fn(
            |plane| if plane < self.planes { first.wrapping_add(plane * depth) } else { first },
        )
    }

    /// A block of the target of product `nth`.
    fn place(&self, nth: usize, row: usize, column: usize, begun: bool) -> Place {
        let (rows, columns) = (self.lefts[0].rows, self.rights[0].columns);
        // SAFETY: `multiply` has seen that the target has all rows and columns, of which these are some.
        let c = unsafe { self.target.0.add((nth * rows + row) * self.stride + column) };
        Place { c, stride: self.stride, rows: rows - row, columns: columns - column, add: self.add || begun }
    }
}

/// Low-rank products that go to columns of a product with a frozen matrix of `columns` columns and `rows` rows.
///
/// A left factor begins at a row of the product: the value's first, or the derivative's. `None` where a product does not
/// fill whole pairs of panels, or the factors do not fit.
pub(super) fn low(terms: &[LowTerm<'_>], planes: usize, (rows, columns): (usize, usize)) -> Option<Vec<Low>> {
    let whole = |term: &LowTerm<'_>| {
        let LowTerm { first_row, left, column, right } = term;
        let end = column + right.columns;
        let aligned = column.is_multiple_of(SIDE) && (end.is_multiple_of(SIDE) || end == columns);
        let fit = left.fits() && right.fits() && left.columns == right.rows && left.column_stride == 1;
        aligned && fit && first_row + left.rows <= rows && end <= columns && right.rows > 0
    };
    // So many go to one block at most.
    let columns_of = |term: &LowTerm<'_>| term.column..term.column + term.right.columns;
    let overlap = |a: Range<usize>, b: Range<usize>| a.start < b.end && b.start < a.end;
    let crowded = |term: &LowTerm<'_>| {
        terms.iter().filter(|other| overlap(columns_of(term), columns_of(other))).count() > 2
    };
    if !terms.iter().all(whole) || terms.iter().any(crowded) {
        return None;
    }
    let one = |&LowTerm { first_row, left, column, right }: &LowTerm<'_>| {
        let depth = left.columns;
        let mut numbers = vec![0f32; rows * depth];
        for (row, into) in numbers.chunks_mut(depth).skip(first_row).take(left.rows).enumerate() {
            into.copy_from_slice(&left.numbers[row * left.row_stride..][..depth]);
        }
        let left = Planes::split(&numbers, depth, rows, depth, planes);
        // SAFETY: AMX is available, or this would not have been called; the view fits, as was just seen.
        let right = unsafe { Cut::new(&right, planes) };
        Low { panels: column / PANEL..(column + right_columns(&right)) / PANEL, left, right }
    };
    Some(terms.iter().map(one).collect())
}

/// Columns with their padding.
fn right_columns(cut: &Cut) -> usize {
    cut.numbers.len() / (cut.planes * cut.padded).max(1)
}

/// Planes of bf16 for products of two factors that vary; `None` where they are taken in f32. At `high` two planes of each
/// keep 16 bits, but what AdamW's first step makes of a gradient near zero asks for more: a meta-gradient of the golden
/// files was 2e-2 off, where f32 for these products leaves 2e-3.
pub(super) fn low_planes(precision: MatmulPrecision) -> Option<usize> {
    (precision == MatmulPrecision::Medium).then_some(1)
}

/// Planes of bf16 that products of this size are taken in where both factors vary; `None` where they are taken in f32.
pub(in crate::autodiff) fn planes_for(
    precision: MatmulPrecision,
    (rows, depth, columns): (usize, usize, usize),
) -> Option<usize> {
    /// Fewer multiplications are not worth the cutting; nor are results that take longer to write than to compute.
    const LEAST: usize = 1 << 14;
    let worth = rows > FEW_ROWS && depth >= SIDE && rows * depth * columns >= LEAST;
    low_planes(precision).filter(|_| worth && CpuKernel::chosen() == CpuKernel::Amx)
}
