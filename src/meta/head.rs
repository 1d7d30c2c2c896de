//! The token-weighting head: how much each token of the context counts in the inner loss.

use candle_core::Tensor;

use crate::Result;
use crate::autodiff::Ops;
use crate::autodiff::kernels::{gelu, gelu_vjp, softplus, softplus_vjp};
use crate::config::MatmulPrecision;

/// β of the softplus (PERK, section 3).
const BETA: f64 = 3.0;

/// `y = x Wᵀ + b` with trained W and b.
#[derive(Debug, Clone)]
pub struct Affine<V = Tensor> {
    /// W, `(out, in)`.
    pub weight: V,
    /// b, `(out)`.
    pub bias: V,
}

/// `ω = softplus_{β=3}(fc2(gelu(fc1(h))))`: two layers from the last hidden state to a positive weight.
#[derive(Debug, Clone)]
pub struct Head<V = Tensor> {
    /// `(H, D)`; the paper's H is 128.
    pub fc1: Affine<V>,
    /// `(1, H)`.
    pub fc2: Affine<V>,
}

/// What the head's backward pass needs.
pub(super) struct Residuals<V> {
    h: V,
    pre: V,
    post: V,
    out: V,
}

impl<V> Head<V> {
    /// Its tensors in the order fc1.weight, fc1.bias, fc2.weight, fc2.bias.
    pub fn tensors(&self) -> [&V; 4] {
        [&self.fc1.weight, &self.fc1.bias, &self.fc2.weight, &self.fc2.bias]
    }

    /// A head from tensors in the order of [`Head::NAMES`].
    pub fn from_tensors([fc1_weight, fc1_bias, fc2_weight, fc2_bias]: [V; 4]) -> Self {
        Self {
            fc1: Affine { weight: fc1_weight, bias: fc1_bias },
            fc2: Affine { weight: fc2_weight, bias: fc2_bias },
        }
    }

    /// The head with each tensor mapped.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub fn map<U>(&self, mut f: impl FnMut(&V) -> Result<U>) -> Result<Head<U>> {
        let [a, b, c, d] = self.tensors();
        Ok(Head::from_tensors([f(a)?, f(b)?, f(c)?, f(d)?]))
    }

    /// Two heads joined tensor by tensor.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub fn zip<U, W>(&self, other: &Head<U>, mut f: impl FnMut(&V, &U) -> Result<W>) -> Result<Head<W>> {
        let mut others = other.tensors().into_iter();
        self.map(|tensor| f(tensor, others.next().expect("as many tensors")))
    }
}

impl Head<Tensor> {
    /// Names of [`Head::tensors`].
    pub const NAMES: [&'static str; 4] = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];
}

fn affine<V: Ops>(layer: &Affine<V>, x: &V) -> Result<V> {
    let y = x.matmul(&layer.weight.t()?, MatmulPrecision::Highest)?;
    let shape = y.primal().shape().clone();
    y.add(&layer.bias.linear(|b| b.broadcast_as(&shape)?.contiguous())?)
}

fn affine_vjp<V: Ops>(layer: &Affine<V>, x: &V, dy: &V) -> Result<(V, Affine<V>)> {
    let grad =
        Affine { weight: dy.t()?.matmul(x, MatmulPrecision::Highest)?, bias: dy.linear(|d| d.sum(0))? };
    Ok((dy.matmul(&layer.weight, MatmulPrecision::Highest)?, grad))
}

impl<V: Ops> Head<V> {
    /// `h: (R, D)` → weights `(R)`.
    pub(super) fn forward(&self, h: &V) -> Result<(V, Residuals<V>)> {
        let pre = affine(&self.fc1, h)?;
        let post = gelu(&pre)?;
        let out = affine(&self.fc2, &post)?;
        let weights = softplus(&out, BETA)?.linear(|w| w.squeeze(1))?;
        Ok((weights, Residuals { h: h.clone(), pre, post, out }))
    }

    /// Cotangent of `h` and gradient of the head from the cotangent `(R)` of the weights.
    pub(super) fn backward(&self, residuals: &Residuals<V>, dweights: &V) -> Result<(V, Head<V>)> {
        let dout = softplus_vjp(&residuals.out, &dweights.linear(|d| d.unsqueeze(1))?, BETA)?;
        let (dpost, fc2) = affine_vjp(&self.fc2, &residuals.post, &dout)?;
        let (dh, fc1) = affine_vjp(&self.fc1, &residuals.h, &gelu_vjp(&residuals.pre, &dpost)?)?;
        Ok((dh, Head { fc1, fc2 }))
    }
}
