//! Softmax over the keys that a query may see.

use candle_core::{Shape, Tensor};

use crate::Result;
use crate::autodiff::fused::{self, Call, Grid};
use crate::autodiff::{Dual, Kernel, Ops, Resident, Rows, RowsMut, Scalar, Stored};

use super::reduce::{LANES, dot, largest, sum};

/// Which keys each query of a batch sees: those at or before it that are not padding.
#[derive(Debug, Clone)]
pub struct AttentionMask {
    tokens: usize,
    spans: Vec<(usize, usize)>,
    /// 1 where a query sees a key, `(B, 1, S, S)`, 0 elsewhere.
    seen: Resident,
    /// `spans` once more, `(2 B)`.
    ends: Resident,
}

/// A score that no key has: what is not seen has it before the softmax.
const NEVER: f64 = -1e30;

impl AttentionMask {
    /// For rows of S `tokens`; `spans` holds for each row of the batch the first and one past the last position
    /// that is not padding.
    pub fn new(tokens: usize, spans: Vec<(usize, usize)>) -> Self {
        Self { tokens, spans, seen: Resident::default(), ends: Resident::default() }
    }

    /// Tokens a row, S.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of rows, B.
    pub fn size(&self) -> usize {
        self.spans.len()
    }

    /// The first and one past the last key that the query at `position` of row `row` sees.
    #[inline(always)]
    fn visible(&self, row: usize, position: usize) -> (usize, usize) {
        let (first, end) = self.spans[row];
        (first, end.min(position + 1).max(first))
    }

    /// 1 where a query sees a key, `(B, 1, S, S)`, like `scores`.
    fn seen(&self, scores: &Tensor) -> Result<Tensor> {
        let shape = (self.size(), 1, self.tokens, self.tokens);
        self.seen.numbers(scores, shape, || self.seen_numbers())
    }

    fn seen_numbers(&self) -> Vec<f64> {
        let (size, tokens) = (self.size(), self.tokens);
        let mut seen = vec![0.0; size * tokens * tokens];
        for (index, row) in seen.chunks_exact_mut(tokens).enumerate() {
            let (first, end) = self.visible(index / tokens, index % tokens);
            row[first..end].fill(1.0);
        }
        seen
    }
}

struct CausalSoftmax<'a> {
    mask: &'a AttentionMask,
    rows_per_batch: usize,
    scale: f64,
    stored: Stored,
}

impl CausalSoftmax<'_> {
    /// First key and one past the last key that query row `row` sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> (usize, usize) {
        self.mask.visible(row / self.rows_per_batch, row % self.mask.tokens)
    }
}

impl Kernel<1, 1> for CausalSoftmax<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut p]: [RowsMut<'_, S>; 1]) {
        let (first, end) = self.visible(row);
        // The buffer is zero where the query does not see.
        let count = end - first;
        if count == 0 {
            return;
        }
        let x = x.row(row, self.mask.tokens).slice(first..end);
        let scale = S::of(self.scale);
        let largest = S::real(largest(x.primal()));
        let mut p = p.slice(first..end);
        let total = sum(
            count,
            #[inline(always)]
            |range, partial: &mut [S; LANES]| {
                let (x, mut p) = (x.slice(range.clone()), p.slice(range));
                for (i, sum) in partial.iter_mut().enumerate().take(x.len()) {
                    let weight = ((x.get(i) - largest) * scale).exp();
                    p.set(i, weight);
                    *sum = *sum + weight;
                }
            },
        );
        let inverse = S::of(1.0) / total;
        for i in 0..count {
            p.set(i, p.get(i) * inverse);
        }
    }

    fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
        let (size, tokens) = (self.mask.size(), self.mask.tokens);
        let x = x.reshape((size, self.rows_per_batch / tokens, tokens, tokens))?;
        let seen = self.mask.seen(x.primal())?;
        let hidden = seen.affine(-NEVER, NEVER)?;
        let seen = Dual::constant(&seen);
        let scores = x.broadcast_mul(&seen)?.broadcast_add(&Dual::constant(&hidden))?;
        let shifted = scores.broadcast_sub(&scores.row_max()?)?.scale(self.scale)?;
        // A query that sees no key has equal scores: the mask takes them away, and its sum of zero divides as one.
        let weights = shifted.exp()?.broadcast_mul(&seen)?;
        let total = weights.row_sum()?;
        let sums = total.primal();
        let none = sums.eq(&sums.zeros_like()?)?.to_dtype(sums.dtype())?;
        Ok([weights.broadcast_div(&total.broadcast_add(&Dual::constant(&none))?)?])
    }

    fn fused(&self, inputs: [&Dual; 1], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        let ends = || self.mask.spans.iter().flat_map(|&(first, end)| [first as u32, end as u32]).collect();
        let ends = self.mask.ends.ids(inputs[0].primal().device(), ends)?;
        let rows = shapes[0].elem_count() / self.mask.tokens;
        let call = Call {
            name: "causal_softmax",
            grid: Grid::WarpARow(rows),
            sizes: &[rows, self.mask.tokens, self.rows_per_batch],
            numbers: &[self.scale],
            tables: &[&ends],
            stored: self.stored,
        };
        fused::run(&call, inputs, shapes)
    }
}

struct SoftmaxVjp {
    width: usize,
    scale: f64,
    stored: Stored,
}

impl Kernel<2, 1> for SoftmaxVjp {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [p, dp]: [Rows<'_, S>; 2], [mut dx]: [RowsMut<'_, S>; 1]) {
        let (p, dp) = (p.row(row, self.width), dp.row(row, self.width));
        let along = dot(p, dp);
        for i in 0..self.width {
            dx.set(i, p.get(i) * (dp.get(i) - along) * S::of(self.scale));
        }
    }

    fn compose(&self, [p, dp]: [Dual; 2]) -> Result<[Dual; 1]> {
        let along = p.broadcast_mul(&dp)?.row_sum()?;
        Ok([p.broadcast_mul(&dp.broadcast_sub(&along)?)?.scale(self.scale)?])
    }

    fn fused(&self, inputs: [&Dual; 2], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        let rows = shapes[0].elem_count() / self.width;
        let call = Call {
            name: "softmax_vjp",
            grid: Grid::WarpARow(rows),
            sizes: &[rows, self.width],
            numbers: &[self.scale],
            tables: &[],
            stored: self.stored,
        };
        fused::run(&call, inputs, shapes)
    }
}

/// `p = softmax(scale · x)` over the keys that the mask lets each query see; zero elsewhere, and zero
/// everywhere for a query that sees none.
///
/// `x: (B, …, S, S)`, the last two dimensions query and key → `p` of the same shape.
pub fn causal_softmax<V: Ops>(x: &V, mask: &AttentionMask, scale: f64, stored: Stored) -> Result<V> {
    let shape = x.primal().shape().clone();
    let rows = shape.elem_count() / mask.tokens;
    let kernel = CausalSoftmax { mask, rows_per_batch: rows / mask.spans.len(), scale, stored };
    let [p] = V::run(&kernel, rows, [x], [shape])?;
    Ok(p)
}

/// Cotangent of [`causal_softmax`]'s input: `scale · p ⊙ (dp − Σ p ⊙ dp)`.
pub fn softmax_vjp<V: Ops>(p: &V, dp: &V, scale: f64, stored: Stored) -> Result<V> {
    let shape = p.primal().shape().clone();
    let width = *shape.dims().last().unwrap_or(&1);
    let kernel = SoftmaxVjp { width, scale, stored };
    let [dx] = V::run(&kernel, shape.elem_count() / width, [p, dp], [shape])?;
    Ok(dx)
}
