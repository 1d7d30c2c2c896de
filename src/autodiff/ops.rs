//! The arithmetic that a gradient is written over, and its plain instance on tensors.

use candle_core::{D, Shape, Tensor};

use super::kernel::Kernel;
use super::{Dual, choose};
use crate::Result;

/// A value that a gradient can be computed with: a `Tensor`, or a [`Dual`](super::Dual).
///
/// There are three kinds of operation, and a derivative rule for each: linear maps (the tangent is mapped
/// likewise), products (Leibniz), and kernels (their formula is evaluated on pairs).
pub trait Ops: Clone + Sized + Send + Sync {
    /// A value that does not vary.
    fn constant(tensor: &Tensor) -> Self;

    /// The value itself, without its tangent.
    fn primal(&self) -> &Tensor;

    /// Applies a linear map: a reshape, a transposition, a choice of rows, a sum, a scaling.
    fn linear(&self, map: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self>;

    /// Applies a linear map that treats leading dimensions as a batch, in that it counts the others from the last
    /// (`D::Minus1`, …): a stacked dual takes it once.
    fn batched_linear(&self, map: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        self.linear(map)
    }

    /// `self + other`, of equal shapes.
    fn add(&self, other: &Self) -> Result<Self>;

    /// `self · other`, batched over the leading dimensions: `(…, m, k) · (…, k, n) → (…, m, n)`.
    fn matmul(&self, other: &Self) -> Result<Self>;

    /// `self Wᵀ + bias + z Bᵀ` by a frozen W: `(m, in), (out, in) → (m, out)`, with `low = (z, B)` of shapes
    /// `(m, r)` and `(out, r)`. W may be stored in a smaller type.
    fn affine(&self, weight: &Tensor, bias: Option<&Tensor>, low: Option<(&Self, &Self)>) -> Result<Self>;

    /// `self W + z A`, the transpose of [`affine`](Self::affine): `(m, out), (out, in) → (m, in)`, with
    /// `low = (z, A)` of shapes `(m, r)` and `(r, in)`.
    fn affine_back(&self, weight: &Tensor, low: Option<(&Self, &Self)>) -> Result<Self>;

    /// Joins matrices of one width below each other.
    fn cat(parts: &[Self]) -> Result<Self>;

    /// Runs a kernel over `rows` rows; output `o` has shape `shapes[o]`.
    fn run<const I: usize, const O: usize, K: Kernel<I, O>>(
        kernel: &K,
        rows: usize,
        inputs: [&Self; I],
        shapes: [Shape; O],
    ) -> Result<[Self; O]>;

    /// `factor · self`.
    fn scale(&self, factor: f64) -> Result<Self> {
        self.batched_linear(|x| x * factor)
    }

    /// Transposes the last two dimensions, without a copy.
    fn t(&self) -> Result<Self> {
        self.linear(|x| x.transpose(D::Minus2, D::Minus1))
    }

    /// The same numbers in another shape.
    fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        self.linear(|x| x.reshape(&shape))
    }
}

impl Ops for Tensor {
    fn constant(tensor: &Tensor) -> Self {
        tensor.clone()
    }

    fn primal(&self) -> &Tensor {
        self
    }

    fn linear(&self, map: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        Ok(map(self)?)
    }

    fn add(&self, other: &Self) -> Result<Self> {
        Ok((self + other)?)
    }

    fn matmul(&self, other: &Self) -> Result<Self> {
        Ok(Dual::constant(self).matmul(&Dual::constant(other))?.into_primal())
    }

    fn affine(&self, weight: &Tensor, bias: Option<&Tensor>, low: Option<(&Self, &Self)>) -> Result<Self> {
        let low = low.map(|(z, b)| (Dual::constant(z), Dual::constant(b)));
        let low = low.as_ref().map(|(z, b)| (z, b));
        Ok(Dual::constant(self).affine(weight, bias, low)?.into_primal())
    }

    fn affine_back(&self, weight: &Tensor, low: Option<(&Self, &Self)>) -> Result<Self> {
        let low = low.map(|(z, a)| (Dual::constant(z), Dual::constant(a)));
        let low = low.as_ref().map(|(z, a)| (z, a));
        Ok(Dual::constant(self).affine_back(weight, low)?.into_primal())
    }

    fn cat(parts: &[Self]) -> Result<Self> {
        Ok(Tensor::cat(parts, 0)?)
    }

    fn run<const I: usize, const O: usize, K: Kernel<I, O>>(
        kernel: &K,
        rows: usize,
        inputs: [&Self; I],
        shapes: [Shape; O],
    ) -> Result<[Self; O]> {
        let inputs = inputs.map(Dual::constant);
        Ok(choose::kernel(kernel, rows, inputs.each_ref(), shapes)?.map(Dual::into_primal))
    }
}
