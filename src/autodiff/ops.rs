//! The arithmetic that a gradient is written over, and its plain instance on tensors.

use candle_core::{D, Shape, Tensor};

use super::kernel::{Kernel, Stored};
use super::pointwise::each_of_duals;
use super::{Dual, Frozen, Number, Pointwise, choose, pointwise};
use crate::Result;
use crate::config::MatmulPrecision;

/// A second factor of a low-rank map, and where its results go: `y[:, column ..] += z Bᵀ`.
#[derive(Debug, Clone)]
pub struct LowRankUp<V> {
    /// B, `(out, r)`; with E blocks of rows that have one each, `(E, out, r)`.
    pub b: V,
    /// First of the out columns of y.
    pub column: usize,
}

/// How a product of two tensors is taken, what it is multiplied with, and how it may be kept.
///
/// The precision is kept to where products of a lower one are faster, as on a GPU's tensor cores; the CPU takes such
/// products on the tiles of AMX at `medium`, and at the highest otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatmulOptions {
    /// What of the factors counts.
    pub precision: MatmulPrecision,
    /// Factor of the product.
    pub scale: f64,
    /// How the result may be kept.
    pub stored: Stored,
}

impl Default for MatmulOptions {
    fn default() -> Self {
        MatmulPrecision::Highest.into()
    }
}

impl From<MatmulPrecision> for MatmulOptions {
    fn from(precision: MatmulPrecision) -> Self {
        Self { precision, scale: 1.0, stored: Stored::Whole }
    }
}

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

    /// `scale · self · other`, batched over the leading dimensions: `(…, m, k) · (…, k, n) → (…, m, n)`.
    fn matmul(&self, other: &Self, options: impl Into<MatmulOptions>) -> Result<Self>;

    /// `self Wᵀ + bias` by a frozen W, `(m, in), (out, in) → (m, out)`, and of `low = (z, B's)`, with `z: (m, R)`, to the
    /// columns of each B the product of its columns of z with Bᵀ; the B's take the R columns of z in turn. The result is kept as
    /// `stored` says where the device takes all of it in one product.
    fn affine(
        &self,
        weight: &Frozen,
        bias: Option<&Tensor>,
        low: Option<(&Self, &[LowRankUp<Self>])>,
        stored: Stored,
    ) -> Result<Self>;

    /// `self W + z A`, the transpose of [`affine`](Self::affine) by W: `(m, out), (out, in) → (m, in)`, with
    /// `low = (z, A)` of shapes `(m, R)` and `(R, in)`, or `(E, R, in)` for E blocks of rows; kept as there.
    fn affine_back(&self, weight: &Frozen, low: Option<(&Self, &Self)>, stored: Stored) -> Result<Self>;

    /// The transpose of [`affine`](Self::affine) by z: `scale` times the columns of each B times B, `(m, out) → (m, R)`.
    fn low_back(&self, ups: &[LowRankUp<Self>], options: impl Into<MatmulOptions>) -> Result<Self>;

    /// Cross entropies `ce: (R)` of the logits `self Wᵀ`, and the cotangent `(R, in)` of self under `Σ weight · ce`, from
    /// `(R, in), weights (R), (out, in)` and R token ids, where a device takes them without the logits in memory: `[ce,
    /// dself]`, or `None`.
    fn losses(&self, weights: &Self, matrix: &Frozen, targets: &[u32]) -> Result<Option<[Self; 2]>>;

    /// Columns `start` to `start + count` of each matrix, without a copy.
    fn columns(&self, start: usize, count: usize) -> Result<Self> {
        self.batched_linear(|x| x.narrow(D::Minus1, start, count))
    }

    /// Joins matrices of one width below each other, or vectors end to end; what is batched is joined matrix by matrix.
    fn cat(parts: &[Self]) -> Result<Self>;

    /// Runs a kernel over `rows` rows; output `o` has shape `shapes[o]`.
    fn run<const I: usize, const O: usize, K: Kernel<I, O>>(
        kernel: &K,
        rows: usize,
        inputs: [&Self; I],
        shapes: [Shape; O],
    ) -> Result<[Self; O]>;

    /// Runs element-wise functions of one type over sets of values, as [`pointwise_each`](super::pointwise_each) says.
    fn run_each<const I: usize, const O: usize, P: Pointwise<I, O>>(
        sets: &[(P, [&Self; I])],
    ) -> Result<Vec<[Self; O]>>;

    /// `self + other` for each of some pairs of equal shapes.
    fn add_each(pairs: &[[&Self; 2]]) -> Result<Vec<Self>> {
        let sets: Vec<_> = pairs.iter().map(|pair| (Plus, *pair)).collect();
        Ok(Self::run_each(&sets)?.into_iter().map(|[sum]| sum).collect())
    }

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

/// `x + y`.
pub(super) struct Plus;

impl Pointwise<2, 1> for Plus {
    const NAME: &'static str = "plus";

    #[inline(always)]
    fn eval<S: Number>(&self, [x, y]: [S; 2]) -> [S; 1] {
        [x + y]
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
        let [sum] = pointwise(Plus, [self, other])?;
        Ok(sum)
    }

    fn matmul(&self, other: &Self, options: impl Into<MatmulOptions>) -> Result<Self> {
        Ok(Dual::constant(self).matmul(&Dual::constant(other), options)?.into_primal())
    }

    fn affine(
        &self,
        weight: &Frozen,
        bias: Option<&Tensor>,
        low: Option<(&Self, &[LowRankUp<Self>])>,
        stored: Stored,
    ) -> Result<Self> {
        let low = low.map(|(z, ups)| (Dual::constant(z), constant_ups(ups)));
        let low = low.as_ref().map(|(z, ups)| (z, &ups[..]));
        Ok(Dual::constant(self).affine(weight, bias, low, stored)?.into_primal())
    }

    fn low_back(&self, ups: &[LowRankUp<Self>], options: impl Into<MatmulOptions>) -> Result<Self> {
        Ok(Dual::constant(self).low_back(&constant_ups(ups), options)?.into_primal())
    }

    fn affine_back(&self, weight: &Frozen, low: Option<(&Self, &Self)>, stored: Stored) -> Result<Self> {
        let low = low.map(|(z, a)| (Dual::constant(z), Dual::constant(a)));
        let low = low.as_ref().map(|(z, a)| (z, a));
        Ok(Dual::constant(self).affine_back(weight, low, stored)?.into_primal())
    }

    fn losses(&self, weights: &Self, matrix: &Frozen, targets: &[u32]) -> Result<Option<[Self; 2]>> {
        let losses = choose::losses(&Dual::constant(self), &Dual::constant(weights), matrix, targets)?;
        Ok(losses.map(|losses| losses.map(Dual::into_primal)))
    }

    fn cat(parts: &[Self]) -> Result<Self> {
        match parts {
            [one] => Ok(one.clone()),
            _ => Ok(Tensor::cat(parts, rows_axis(&parts[0]))?),
        }
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

    fn run_each<const I: usize, const O: usize, P: Pointwise<I, O>>(
        sets: &[(P, [&Self; I])],
    ) -> Result<Vec<[Self; O]>> {
        let duals: Vec<_> = sets.iter().map(|(_, inputs)| inputs.map(Dual::constant)).collect();
        let sets: Vec<_> = sets.iter().zip(&duals).map(|((f, _), inputs)| (f, inputs.each_ref())).collect();
        let outputs = each_of_duals(&sets)?;
        Ok(outputs.into_iter().map(|outputs| outputs.map(Dual::into_primal)).collect())
    }
}

fn constant_ups(ups: &[LowRankUp<Tensor>]) -> Vec<LowRankUp<Dual>> {
    ups.iter().map(|LowRankUp { b, column }| LowRankUp { b: Dual::constant(b), column: *column }).collect()
}

/// The dimension that counts the rows of a matrix, or the numbers of a vector.
pub(super) fn rows_axis(x: &Tensor) -> usize {
    x.rank().saturating_sub(2)
}
