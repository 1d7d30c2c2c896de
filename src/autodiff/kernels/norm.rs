//! Root-mean-square norm.

use candle_core::{DType, Shape, Tensor};

use crate::Result;
use crate::autodiff::fused::{self, Call, Grid};
use crate::autodiff::{Dual, Kernel, Ops, Real, Resident, Rows, RowsMut, Scalar, Stored};

use super::reduce::{LANES, dot, sum};

/// A norm's gain, D numbers, read once from wherever its weights are.
#[derive(Debug, Clone)]
pub struct Gain {
    /// Exact for every type a gain is stored in.
    numbers: Vec<f64>,
    tensor: Resident,
}

impl Gain {
    /// From a stored gain, `(D)`.
    ///
    /// # Errors
    /// A gain that cannot be read from its device.
    #[expect(clippy::disallowed_methods, reason = "once, when the base is loaded")]
    pub fn new(gain: &Tensor) -> Result<Self> {
        Ok(Self { numbers: gain.to_dtype(DType::F64)?.to_vec1()?, tensor: Resident::default() })
    }

    /// As a factor of rows like those of `x`.
    fn factor(&self, x: &Dual) -> Result<Dual> {
        let tensor = self.tensor.numbers(x.primal(), self.numbers.len(), || self.numbers.clone())?;
        Ok(Dual::constant(&tensor))
    }
}

struct RmsNorm<'a> {
    gain: &'a Gain,
    eps: f64,
    stored: Stored,
}

impl RmsNorm<'_> {
    #[inline(always)]
    fn width(&self) -> usize {
        self.gain.numbers.len()
    }

    /// The rows of a whole tensor, `(rows, D)`.
    fn rows(&self, x: &Dual) -> Result<Dual> {
        x.reshape((x.primal().elem_count() / self.width(), self.width()))
    }

    /// [`inverse_rms`](Self::inverse_rms) of every row, `(rows, 1)`.
    fn inverse_of_rows(&self, x: &Dual) -> Result<Dual> {
        let mean = x.broadcast_mul(x)?.row_sum()?.scaled(1.0 / self.width() as f64, self.eps)?;
        Dual::constant(&mean.primal().ones_like()?).broadcast_div(&mean.sqrt()?)
    }

    /// 1 / √(mean(x²) + ε)
    #[inline(always)]
    fn inverse_rms<S: Scalar>(&self, x: Rows<'_, S>) -> S {
        let width = self.width();
        let squares = dot(x, x);
        S::of(1.0) / (squares / S::of(width as f64) + S::of(self.eps)).sqrt()
    }

    /// The kernel of this name, a block a row.
    fn kernel<const I: usize>(
        &self,
        name: &'static str,
        inputs: [&Dual; I],
        shapes: &[Shape; 1],
    ) -> Result<Option<[Dual; 1]>> {
        let (rows, gain) = (shapes[0].elem_count() / self.width(), self.gain.factor(inputs[0])?);
        let call = Call {
            name,
            grid: Grid::BlockARow(rows, self.width()),
            sizes: &[rows, self.width()],
            numbers: &[self.eps],
            tables: &[gain.primal()],
            stored: self.stored,
        };
        fused::run(&call, inputs, shapes)
    }

    #[inline(always)]
    fn gain<S: Scalar>(&self, index: usize) -> S {
        S::real(S::Real::of(self.gain.numbers[index]))
    }
}

struct Forward<'a>(RmsNorm<'a>);
impl Kernel<1, 1> for Forward<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
        let x = x.row(row, self.0.width());
        let inverse = self.0.inverse_rms(x);
        for i in 0..self.0.width() {
            y.set(i, x.get(i) * inverse * self.0.gain(i));
        }
    }

    fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
        let x = self.0.rows(&x)?;
        let normed = x.broadcast_mul(&self.0.inverse_of_rows(&x)?)?;
        Ok([normed.broadcast_mul(&self.0.gain.factor(&x)?)?])
    }

    fn fused(&self, inputs: [&Dual; 1], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        self.0.kernel("rms_norm", inputs, shapes)
    }
}

struct Backward<'a>(RmsNorm<'a>);
impl Kernel<2, 1> for Backward<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x, dy]: [Rows<'_, S>; 2], [mut dx]: [RowsMut<'_, S>; 1]) {
        let width = self.0.width();
        let (x, dy) = (x.row(row, width), dy.row(row, width));
        let inverse = self.0.inverse_rms(x);
        let along = sum(
            width,
            #[inline(always)]
            |range, partial: &mut [S; LANES]| {
                let gains = &self.0.gain.numbers[range.clone()];
                let (x, dy) = (x.slice(range.clone()), dy.slice(range));
                for (i, (sum, &gain)) in partial.iter_mut().zip(gains).enumerate() {
                    *sum = *sum + x.get(i) * dy.get(i) * S::real(S::Real::of(gain));
                }
            },
        );
        let along = along * inverse * inverse / S::of(width as f64);
        for i in 0..width {
            dx.set(i, inverse * (dy.get(i) * self.0.gain(i) - x.get(i) * along));
        }
    }

    fn compose(&self, [x, dy]: [Dual; 2]) -> Result<[Dual; 1]> {
        let (x, dy) = (self.0.rows(&x)?, self.0.rows(&dy)?);
        let inverse = self.0.inverse_of_rows(&x)?;
        let scaled = dy.broadcast_mul(&self.0.gain.factor(&x)?)?;
        let along = x.broadcast_mul(&scaled)?.row_sum()?;
        let along = along.broadcast_mul(&inverse)?.broadcast_mul(&inverse)?;
        let along = along.scale(1.0 / self.0.width() as f64)?;
        Ok([inverse.broadcast_mul(&scaled.broadcast_sub(&x.broadcast_mul(&along)?)?)?])
    }

    fn fused(&self, inputs: [&Dual; 2], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        self.0.kernel("rms_norm_vjp", inputs, shapes)
    }
}

/// `y = x ⊙ g / √(mean(x²) + ε)`   RMSNorm, Zhang & Sennrich 2019.
///
/// `x: (rows, D)`, a gain of D numbers → `y: (rows, D)`; the mean is taken in the type of `x`.
pub fn rms_norm<V: Ops>(x: &V, gain: &Gain, eps: f64, stored: Stored) -> Result<V> {
    let shape = x.primal().shape().clone();
    let rows = shape.elem_count() / gain.numbers.len();
    let [y] = V::run(&Forward(RmsNorm { gain, eps, stored }), rows, [x], [shape])?;
    Ok(y)
}

/// Cotangent of [`rms_norm`]'s input, with r the inverse root:
/// `dx = r (dy ⊙ g − x r² mean(x ⊙ dy ⊙ g))`.
pub fn rms_norm_vjp<V: Ops>(x: &V, gain: &Gain, eps: f64, dy: &V) -> Result<V> {
    let shape = x.primal().shape().clone();
    let rows = shape.elem_count() / gain.numbers.len();
    let [dx] = V::run(&Backward(RmsNorm { gain, eps, stored: Stored::Whole }), rows, [x, dy], [shape])?;
    Ok(dx)
}
