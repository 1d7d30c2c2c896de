//! Softmax over the keys that a query may see.

use crate::Result;
use crate::autodiff::{Kernel, Ops, Rows, RowsMut, Scalar};

use super::norm::sum;

/// Which keys each query of a batch sees: those at or before it that are not padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionMask {
    /// Tokens a row, S.
    pub tokens: usize,
    /// For each row of the batch the first and one past the last position that is not padding.
    pub spans: Vec<(usize, usize)>,
}

struct CausalSoftmax<'a> {
    mask: &'a AttentionMask,
    rows_per_batch: usize,
    scale: f64,
}

impl CausalSoftmax<'_> {
    /// First key and one past the last key that query row `row` sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> (usize, usize) {
        let query = row % self.mask.tokens;
        let (first, end) = self.mask.spans[row / self.rows_per_batch];
        (first, end.min(query + 1).max(first))
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
        let mut largest = x.get(0).primal();
        for i in 1..count {
            let value = x.get(i).primal();
            largest = if value > largest { value } else { largest };
        }
        for i in 0..count {
            p.set(first + i, ((x.get(i) - S::real(largest)) * scale).exp());
        }
        let total = sum(count, |i| p.get(first + i));
        let inverse = S::of(1.0) / total;
        for i in first..end {
            p.set(i, p.get(i) * inverse);
        }
    }
}

struct SoftmaxVjp {
    width: usize,
    scale: f64,
}

impl Kernel<2, 1> for SoftmaxVjp {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [p, dp]: [Rows<'_, S>; 2], [mut dx]: [RowsMut<'_, S>; 1]) {
        let (p, dp) = (p.row(row, self.width), dp.row(row, self.width));
        let along = sum(self.width, |i| p.get(i) * dp.get(i));
        for i in 0..self.width {
            dx.set(i, p.get(i) * (dp.get(i) - along) * S::of(self.scale));
        }
    }
}

/// `p = softmax(scale · x)` over the keys that the mask lets each query see; zero elsewhere, and zero
/// everywhere for a query that sees none.
///
/// `x: (B, …, S, S)`, the last two dimensions query and key → `p` of the same shape.
pub fn causal_softmax<V: Ops>(x: &V, mask: &AttentionMask, scale: f64) -> Result<V> {
    let shape = x.primal().shape().clone();
    let rows = shape.elem_count() / mask.tokens;
    let kernel = CausalSoftmax { mask, rows_per_batch: rows / mask.spans.len(), scale };
    let [p] = V::run(&kernel, rows, [x], [shape])?;
    Ok(p)
}

/// Cotangent of [`causal_softmax`]'s input: `scale · p ⊙ (dp − Σ p ⊙ dp)`.
pub fn softmax_vjp<V: Ops>(p: &V, dp: &V, scale: f64) -> Result<V> {
    let shape = p.primal().shape().clone();
    let width = *shape.dims().last().unwrap_or(&1);
    let [dx] = V::run(&SoftmaxVjp { width, scale }, shape.elem_count() / width, [p, dp], [shape])?;
    Ok(dx)
}
