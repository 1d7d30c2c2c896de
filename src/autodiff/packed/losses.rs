//! Next-token losses of hidden states by a packed output matrix W, and their gradient, without the logits ever standing in
//! memory: a block of the vocabulary at a time, as attention is computed block by block (Dao et al. 2022), with W in the
//! place of keys and values.
//!
//! With logits `z = h Wᵀ` and a weight ω for each row: `ce = ln Σ exp z − z_t`, `dh = ω Σ_v (p_v − [v = t]) W_v`. A block gives
//! each row `Σ exp(z − m)` and `Σ exp(z − m) W` for a number m near the largest logit so far, which is raised where a block
//! has a much larger one. Of a derivative ż it gives `Σ exp(z − m) (ż − c)`, likewise with W, for a number c near the mean of
//! ż, so that little is lost where both are rounded. The target is left out of these sums: a token that is nearly certain
//! would drown what else there is.

#![allow(unsafe_code)] // Calls the tiles, which take pointers to buffers of this thread.
#![allow(clippy::needless_range_loop)] // Several arrays of one length, number by number.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::aligned::Aligned;
use super::amx::{SIDE, TileTerm, Tiles};
use super::layout::Panels;
use super::micro::PANEL;
use super::planes::{self, MOST, Planes};
use super::tiles::{Place, Terms};
use super::{CpuKernel, Packed, Way};
use crate::autodiff::exp::exp_f32;
use crate::vectors::vectorised;

/// Parts of the vocabulary that threads share: always as many, so that the number of threads changes no bit.
const PARTS: usize = 16;

/// Columns of a block, of whose logits the second cache holds those of some hundred rows.
const BLOCK: usize = 512;

/// Rows that are taken through the vocabulary together.
const TOGETHER: usize = 256;

/// How far a logit may be above the number that exponentials are taken from.
const SLACK: f32 = 8.0;

/// Hidden states `(rows, width)`, and behind them as many of their derivatives if they vary, with the weights of their losses,
/// `(rows)` and likewise, and the tokens that they predict.
#[derive(Clone, Copy)]
pub(in crate::autodiff) struct Predictions<'a> {
    pub hidden: &'a [f32],
    pub weights: &'a [f32],
    pub targets: &'a [u32],
    pub varies: bool,
}

/// Where the losses and the gradients go, laid out as weights and hidden states are.
pub(in crate::autodiff) struct Losses {
    pub ce: Vec<f32>,
    pub dhidden: Vec<f32>,
}

/// What some of the vocabulary gives to the rows.
struct Sums {
    /// m, from which exponentials are taken.
    shift: Vec<f32>,
    /// `Σ e` and `Σ e (ż − c)` without the target, and c.
    total: Vec<f32>,
    along: Vec<f32>,
    centre: Vec<f32>,
    /// `Σ e W`, and behind it `Σ e (ż − c) W` where rows vary.
    rows: Vec<f32>,
    /// Logit of the target and its derivative, if it is here.
    target: Vec<Option<[f32; 2]>>,
}

impl Packed {
    /// Losses and gradients of some rows. AMX must be available.
    pub(in crate::autodiff) fn losses(&self, all: Predictions<'_>) -> Losses {
        debug_assert!(CpuKernel::Amx.is_available());
        let (count, width) = (all.targets.len(), self.width);
        let halves = if all.varies { 2 } else { 1 };
        let mut losses = Losses { ce: vec![0.0; halves * count], dhidden: vec![0.0; halves * count * width] };
        for start in (0..count).step_by(TOGETHER) {
            let rows = start..count.min(start + TOGETHER);
            let own = |numbers: &[f32], each: usize| {
                let half = |half| (half * count + rows.start) * each..(half * count + rows.end) * each;
                (0..halves).flat_map(|nth| numbers[half(nth)].to_vec()).collect::<Vec<f32>>()
            };
            let (hidden, weights) = (own(all.hidden, width), own(all.weights, 1));
            let targets = &all.targets[rows.clone()];
            let some = Predictions { hidden: &hidden, weights: &weights, targets, ..all };
            let found = self.losses_together(some);
            for half in 0..halves {
                let (into, from) = (half * count + rows.start, half * rows.len());
                losses.ce[into..into + rows.len()].copy_from_slice(&found.ce[from..from + rows.len()]);
                losses.dhidden[into * width..(into + rows.len()) * width]
                    .copy_from_slice(&found.dhidden[from * width..(from + rows.len()) * width]);
            }
        }
        losses
    }

    fn losses_together(&self, some: Predictions<'_>) -> Losses {
        let count = super::planes(self.precision).unwrap_or(MOST);
        let rows = some.hidden.len() / self.width;
        let planes = Planes::split(some.hidden, self.width, rows, self.width, count);
        let blocks = self.out.div_ceil(BLOCK);
        let part = |nth: usize| nth * blocks / PARTS..(nth + 1) * blocks / PARTS;
        let parts = (0..PARTS).into_par_iter().map(part).filter(|blocks| !blocks.is_empty()).map(|blocks| {
            let mut scan = Scan::new(self, some, &planes);
            blocks.for_each(|block| scan.block(block * BLOCK..self.out.min((block + 1) * BLOCK)));
            scan.sums
        });
        let parts: Vec<Sums> = parts.collect();
        self.finish(some, &parts)
    }

    /// The losses from the sums of all parts of the vocabulary.
    fn finish(&self, some: Predictions<'_>, parts: &[Sums]) -> Losses {
        let (count, width) = (some.targets.len(), self.width);
        let halves = if some.varies { 2 } else { 1 };
        let mut losses = Losses { ce: vec![0.0; halves * count], dhidden: vec![0.0; halves * count * width] };
        let (primal, tangent) = losses.dhidden.split_at_mut(count * width);
        let mut tangents = tangent.chunks_mut(width);
        let rows: Vec<_> =
            primal.chunks_mut(width).map(|row| (row, tangents.next().unwrap_or_default())).collect();
        let finished =
            rows.into_par_iter().enumerate().map(|(row, into)| self.finish_row(some, parts, row, into));
        for (row, [ce, dce]) in finished.collect::<Vec<_>>().into_iter().enumerate() {
            losses.ce[row] = ce;
            if some.varies {
                losses.ce[count + row] = dce;
            }
        }
        losses
    }

    /// Loss and gradient of a row, and their derivatives if it varies.
    fn finish_row(
        &self,
        some: Predictions<'_>,
        parts: &[Sums],
        row: usize,
        (primal, tangent): (&mut [f32], &mut [f32]),
    ) -> [f32; 2] {
        let (count, width) = (some.targets.len(), self.width);
        let shift = parts.iter().fold(f32::NEG_INFINITY, |m, part| m.max(part.shift[row]));
        let centre = parts[0].centre[row];
        let (mut others, mut along, mut of_target) = (0.0, 0.0, [f32::NAN; 2]);
        for part in parts {
            let factor = exp_f32(part.shift[row] - shift);
            let moved = part.centre[row] - centre;
            others += factor * part.total[row];
            along += factor * (part.along[row] + moved * part.total[row]);
            let sums = &part.rows[row * width..(row + 1) * width];
            primal.iter_mut().zip(sums).for_each(|(y, x)| *y += factor * x);
            if some.varies {
                let own = &part.rows[(count + row) * width..(count + row + 1) * width];
                let own = own.iter().zip(sums);
                tangent.iter_mut().zip(own).for_each(|(y, (own, x))| *y += factor * (own + moved * x));
            }
            of_target = part.target[row].unwrap_or(of_target);
        }
        let [z, dz] = of_target;
        let exponential = exp_f32(z - shift);
        let total = others + exponential;
        let (p, mean) = (exponential / total, (along + exponential * (dz - centre)) / total);
        let (weight, target) = (some.weights[row], some.targets[row] as usize);
        let dweight = if some.varies { some.weights[count + row] } else { 0.0 };
        for column in 0..width {
            let w = self.forward.get(column, target).to_f32();
            // Σ_v (p_v − [v = t]) W_v, and its derivative.
            let sum = (primal[column] - others * w) / total;
            if some.varies {
                let dsum =
                    tangent[column] / total - mean * primal[column] / total + p * (dz - centre - mean) * w;
                tangent[column] = dweight * sum + weight * dsum;
            }
            primal[column] = weight * sum;
        }
        [total.ln() + shift - z, mean + centre - dz]
    }
}

/// Goes through a part of the vocabulary.
struct Scan<'a> {
    matrix: &'a Packed,
    some: Predictions<'a>,
    hidden: &'a Planes,
    sums: Sums,
    /// Logits of a block, and their derivatives behind them: `(rows, BLOCK)`.
    logits: Vec<f32>,
    /// What is multiplied with the block's rows of W, in planes: those of a row behind each other.
    factors: Aligned,
}

impl<'a> Scan<'a> {
    fn new(matrix: &'a Packed, some: Predictions<'a>, hidden: &'a Planes) -> Self {
        let (count, rows) = (some.targets.len(), some.hidden.len() / matrix.width);
        let sums = Sums {
            shift: vec![f32::NEG_INFINITY; count],
            total: vec![0.0; count],
            along: vec![0.0; count],
            centre: vec![0.0; count],
            rows: vec![0.0; rows * matrix.width],
            target: vec![None; count],
        };
        let factors = Aligned::zeros(rows.next_multiple_of(SIDE) * Self::stride(hidden.count));
        Self { matrix, some, hidden, sums, logits: vec![0.0; rows * BLOCK], factors }
    }

    /// From a row of factors to the next: an odd number of lines of the cache.
    fn stride(planes: usize) -> usize {
        ((planes * BLOCK / SIDE) | 1) * SIDE
    }

    fn rows(&self) -> usize {
        self.logits.len() / BLOCK
    }

    /// Adds what the tokens of a range give.
    fn block(&mut self, tokens: Range<usize>) {
        // SAFETY: AMX is available, or this would not have been called.
        let tiles = unsafe { Tiles::configure() };
        self.multiply_logits(&tiles, &tokens);
        for row in 0..self.some.targets.len() {
            match (self.some.varies, self.hidden.count) {
                (false, 1) => self.exponentials::<false, 1>(row, &tokens),
                (false, 2) => self.exponentials::<false, 2>(row, &tokens),
                (false, _) => self.exponentials::<false, MOST>(row, &tokens),
                (true, 1) => self.exponentials::<true, 1>(row, &tokens),
                (true, 2) => self.exponentials::<true, 2>(row, &tokens),
                (true, _) => self.exponentials::<true, MOST>(row, &tokens),
            }
        }
        self.multiply_back(&tiles, &tokens);
    }

    /// The logits of a block.
    fn multiply_logits(&mut self, tiles: &Tiles, tokens: &Range<usize>) {
        let (panels, rows) = (&self.matrix.forward, self.rows());
        let first = tokens.start / PANEL;
        for panel in (first..tokens.end.div_ceil(PANEL)).step_by(2) {
            for row in (0..rows).step_by(SIDE) {
                let column = (panel - first) * PANEL;
                let planes = self.hidden.pointers(row, 0);
                let mut terms = Terms::new();
                terms.push(TileTerm {
                    planes,
                    count: self.hidden.count,
                    a_stride: self.hidden.stride(),
                    ..term(panels, panel, (0, panels.padded), row)
                });
                let c = self.logits[row * BLOCK + column..].as_mut_ptr();
                let columns = tokens.len() - column;
                let place = Place { c, stride: BLOCK, rows: rows - row, columns, add: false };
                // SAFETY: planes are padded to 32 rows and the depth of the panels, which are of an even number; the buffer has
                // the rows and columns.
                unsafe { terms.write(tiles, place) }
            }
        }
    }

    /// A row's exponentials, and their products with the derivatives, as factors of the product with W.
    fn exponentials<const VARIES: bool, const P: usize>(&mut self, row: usize, tokens: &Range<usize>) {
        let count = self.some.targets.len();
        let padded = tokens.len().next_multiple_of(SIDE);
        let (primal, tangent) = self.logits.split_at_mut(count * BLOCK);
        let z = &mut primal[row * BLOCK..][..padded];
        let dz: &[f32] = if VARIES { &tangent[row * BLOCK..][..padded] } else { &[] };
        z[tokens.len()..].fill(f32::NEG_INFINITY);
        let largest = vectorised(
            #[inline(always)]
            || largest(z),
        );
        let old = self.sums.shift[row];
        let target = self.some.targets[row] as usize;
        if tokens.contains(&target) {
            let place = target - tokens.start;
            self.sums.target[row] = Some([z[place], if VARIES { dz[place] } else { 0.0 }]);
            z[place] = f32::NEG_INFINITY;
        }
        if largest > old + SLACK {
            self.sums.raise((row, count), (largest, self.matrix.width));
        }
        let shift = self.sums.shift[row];
        let centre = match VARIES && old == f32::NEG_INFINITY {
            true => vectorised(
                #[inline(always)]
                || centre(z, dz, shift),
            ),
            false => self.sums.centre[row],
        };
        self.sums.centre[row] = centre;
        let stride = Self::stride(P);
        let (own, tangents) = self.factors.split_at_mut(count * stride);
        let own = &mut own[row * stride..][..P * BLOCK];
        let tangents = if VARIES { &mut tangents[row * stride..][..P * BLOCK] } else { &mut [] };
        let [total, along] = vectorised(
            #[inline(always)]
            || factors::<VARIES, P>((z, dz), (shift, centre), own, tangents),
        );
        self.sums.total[row] += total;
        self.sums.along[row] += along;
    }

    /// Adds the products of the factors with a block of rows of W.
    fn multiply_back(&mut self, tiles: &Tiles, tokens: &Range<usize>) {
        let (panels, rows, width) = (self.matrix.way(Way::Back), self.rows(), self.matrix.width);
        let depth = tokens.len().next_multiple_of(SIDE);
        let (count, stride) = (self.hidden.count, Self::stride(self.hidden.count));
        for panel in (0..width.div_ceil(PANEL)).step_by(2) {
            for row in (0..rows).step_by(SIDE) {
                let planes = std::array::from_fn(|plane| {
                    self.factors[row * stride..].as_ptr().wrapping_add(plane.min(count - 1) * BLOCK)
                });
                let mut terms = Terms::new();
                let of = term(panels, panel, (tokens.start, depth), row);
                terms.push(TileTerm { planes, count, a_stride: stride, ..of });
                let c = self.sums.rows[row * width + panel * PANEL..].as_mut_ptr();
                let columns = width - panel * PANEL;
                let place = Place { c, stride: width, rows: rows - row, columns, add: true };
                // SAFETY: factors are padded to 32 rows and the depth, panels likewise; the sums have the rows and columns.
                unsafe { terms.write(tiles, place) }
            }
        }
    }
}

impl Sums {
    /// Takes the exponentials of a row of `count` from another number.
    fn raise(&mut self, (row, count): (usize, usize), (shift, width): (f32, usize)) {
        let old = std::mem::replace(&mut self.shift[row], shift);
        if old == f32::NEG_INFINITY {
            return;
        }
        let factor = exp_f32(old - shift);
        self.total[row] *= factor;
        self.along[row] *= factor;
        for row in (row..self.rows.len() / width).step_by(count) {
            self.rows[row * width..(row + 1) * width].iter_mut().for_each(|sum| *sum *= factor);
        }
    }
}

/// A product with rows `first` to `first + depth` of two panels; the next two are fetched meanwhile, an eighth for each of
/// eight blocks of rows.
fn term(panels: &Panels, panel: usize, (first, depth): (usize, usize), row: usize) -> TileTerm {
    let part = row / SIDE % 8;
    let next = if (panel + 3) * PANEL < panels.columns.next_multiple_of(SIDE) { 2 } else { 0 };
    let ahead = panels.rows(panel + next + part / 4, first, depth).as_ptr();
    TileTerm {
        planes: [std::ptr::null(); MOST],
        count: 0,
        a_stride: 0,
        b: panels.rows(panel, first, depth).as_ptr(),
        panel_stride: panels.stride(),
        depth,
        ahead: ahead.wrapping_add(part % 4 * 4 * depth),
    }
}

/// The largest of some numbers.
#[inline(always)]
fn largest(numbers: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut partial = [f32::NEG_INFINITY; SIDE];
    for numbers in numbers.as_chunks::<SIDE>().0 {
        partial.iter_mut().zip(numbers).for_each(|(p, &number)| *p = larger(*p, number));
    }
    partial.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// The mean of derivatives weighted with the exponentials of their logits; zero where all of these are zero.
#[inline(always)]
fn centre(z: &[f32], dz: &[f32], shift: f32) -> f32 {
    let (mut total, mut along) = ([0f32; SIDE], [0f32; SIDE]);
    for (z, dz) in z.as_chunks::<SIDE>().0.iter().zip(dz.as_chunks::<SIDE>().0) {
        for i in 0..SIDE {
            let exponential = exp_f32(z[i] - shift);
            total[i] += exponential;
            along[i] += exponential * dz[i];
        }
    }
    let (total, along): (f32, f32) = (total.iter().sum(), along.iter().sum());
    if total > 0.0 { along / total } else { 0.0 }
}

/// Writes exponentials, and their products with derivatives less their centre, in planes; returns their sums.
#[inline(always)]
fn factors<const VARIES: bool, const P: usize>(
    (z, dz): (&[f32], &[f32]),
    (shift, centre): (f32, f32),
    own: &mut [bf16],
    tangents: &mut [bf16],
) -> [f32; 2] {
    let (mut total, mut along) = ([0f32; SIDE], [0f32; SIDE]);
    for (nth, z) in z.as_chunks::<SIDE>().0.iter().enumerate() {
        let mut exponentials = [0f32; SIDE];
        for i in 0..SIDE {
            exponentials[i] = exp_f32(z[i] - shift);
            total[i] += exponentials[i];
        }
        if VARIES {
            let dz = &dz[nth * SIDE..][..SIDE];
            let mut products = [0f32; SIDE];
            for i in 0..SIDE {
                products[i] = exponentials[i] * (dz[i] - centre);
                along[i] += products[i];
            }
            planes::write::<P>(products, BLOCK, nth * SIDE, tangents);
        }
        planes::write::<P>(exponentials, BLOCK, nth * SIDE, own);
    }
    [total.iter().sum(), along.iter().sum()]
}
