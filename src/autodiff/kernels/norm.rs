//! Root-mean-square norm.

use crate::Result;
use crate::autodiff::{Kernel, Ops, Real, Rows, RowsMut, Scalar};

struct RmsNorm<'a> {
    gain: &'a [f64],
    eps: f64,
}

impl RmsNorm<'_> {
    /// 1 / √(mean(x²) + ε)
    #[inline(always)]
    fn inverse_rms<S: Scalar>(&self, x: Rows<'_, S>) -> S {
        let width = self.gain.len();
        let squares = sum(width, |i| x.get(i) * x.get(i));
        S::of(1.0) / (squares / S::of(width as f64) + S::of(self.eps)).sqrt()
    }

    #[inline(always)]
    fn gain<S: Scalar>(&self, index: usize) -> S {
        S::real(S::Real::of(self.gain[index]))
    }
}

/// A sum in eight partial sums: exact enough, and wide enough for vectors.
#[inline(always)]
pub(super) fn sum<S: Scalar>(count: usize, term: impl Fn(usize) -> S) -> S {
    const LANES: usize = 16;
    let mut partial = [S::of(0.0); LANES];
    let whole = count - count % LANES;
    let mut base = 0;
    while base < whole {
        for (lane, p) in partial.iter_mut().enumerate() {
            *p = *p + term(base + lane);
        }
        base += LANES;
    }
    for i in whole..count {
        partial[i - whole] = partial[i - whole] + term(i);
    }
    partial.into_iter().fold(S::of(0.0), |a, b| a + b)
}

struct Forward<'a>(RmsNorm<'a>);
impl Kernel<1, 1> for Forward<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
        let x = x.row(row, self.0.gain.len());
        let inverse = self.0.inverse_rms(x);
        for i in 0..self.0.gain.len() {
            y.set(i, x.get(i) * inverse * self.0.gain(i));
        }
    }
}

struct Backward<'a>(RmsNorm<'a>);
impl Kernel<2, 1> for Backward<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x, dy]: [Rows<'_, S>; 2], [mut dx]: [RowsMut<'_, S>; 1]) {
        let width = self.0.gain.len();
        let (x, dy) = (x.row(row, width), dy.row(row, width));
        let inverse = self.0.inverse_rms(x);
        let along = sum(width, |i| x.get(i) * dy.get(i) * self.0.gain(i));
        let along = along * inverse * inverse / S::of(width as f64);
        for i in 0..width {
            dx.set(i, inverse * (dy.get(i) * self.0.gain(i) - x.get(i) * along));
        }
    }
}

/// `y = x ⊙ g / √(mean(x²) + ε)`   RMSNorm, Zhang & Sennrich 2019.
///
/// `x: (rows, D)`, `gain: D numbers` → `y: (rows, D)`; the mean is taken in the type of `x`.
pub fn rms_norm<V: Ops>(x: &V, gain: &[f64], eps: f64) -> Result<V> {
    let shape = x.primal().shape().clone();
    let [y] = V::run(&Forward(RmsNorm { gain, eps }), shape.elem_count() / gain.len(), [x], [shape])?;
    Ok(y)
}

/// Cotangent of [`rms_norm`]'s input, with r the inverse root:
/// `dx = r (dy ⊙ g − x r² mean(x ⊙ dy ⊙ g))`.
pub fn rms_norm_vjp<V: Ops>(x: &V, gain: &[f64], eps: f64, dy: &V) -> Result<V> {
    let shape = x.primal().shape().clone();
    let [dx] = V::run(&Backward(RmsNorm { gain, eps }), shape.elem_count() / gain.len(), [x, dy], [shape])?;
    Ok(dx)
}
