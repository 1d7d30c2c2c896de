//! Clipping of a gradient by its global norm, and its vector-Jacobian product.
//!
//! Whether the limit bites is decided on the device, by arithmetic: the host is not asked.

use candle_core::{DType, Tensor};

use crate::{Error, Result, autodiff};

/// √Σ x² over all numbers of all tensors, summed in f64. Reads one number back from the device.
#[expect(clippy::disallowed_methods, reason = "one number, which the outer loop decides by")]
pub fn global_norm(tensors: &[Tensor]) -> Result<f64> {
    Ok(norms(tensors, 1)?.squeeze(0)?.to_scalar()?)
}

/// √Σ x² of each of `episodes` gradients beside each other, whose tensors have a leading dimension of that size, summed
/// in f64; `(episodes)`, still on the device.
pub fn norms(tensors: &[Tensor], episodes: usize) -> Result<Tensor> {
    Ok(dots(tensors, tensors, episodes)?.sqrt()?)
}

/// `min(1, limit / norm)`: what a gradient of this norm is multiplied with; 1 without a limit.
pub fn clip_factor(norm: f64, limit: Option<f64>) -> f64 {
    limit.map_or(1.0, |limit| (limit / norm).min(1.0))
}

/// ⟨a, b⟩ of each episode, `(episodes)`.
fn dots(a: &[Tensor], b: &[Tensor], episodes: usize) -> Result<Tensor> {
    if a.is_empty() {
        return Err(Error::Invalid("a gradient of no tensors has no norm".into()));
    }
    let pairs: Vec<_> = a.iter().zip(b).map(|(a, b)| [a, b]).collect();
    Ok(autodiff::dots(&pairs, episodes)?.sum(0)?)
}

/// `g · min(1, limit / ‖g‖)`, for each of `episodes` gradients beside each other by its own norm.
pub fn clip(grads: &[Tensor], limit: f64, episodes: usize) -> Result<Vec<Tensor>> {
    let factors = shrink(&norms(grads, episodes)?, limit)?;
    grads.iter().map(|g| scaled(g, &factors)).collect()
}

/// `min(1, limit / ‖g‖)`.
fn shrink(norms: &Tensor, limit: f64) -> Result<Tensor> {
    let ones = norms.ones_like()?;
    Ok(((&ones * limit)? / norms)?.minimum(&ones)?)
}

/// Every episode's numbers times its factor.
fn scaled(x: &Tensor, factors: &Tensor) -> Result<Tensor> {
    let rows = x.reshape((factors.dim(0)?, ()))?;
    Ok(rows.broadcast_mul(&factors.to_dtype(x.dtype())?.unsqueeze(1)?)?.reshape(x.shape())?)
}

/// Cotangent of the unclipped gradient from that of the clipped one:
/// `(limit / ‖g‖) (c − g ⟨g, c⟩ / ‖g‖²)` where the limit bites, `c` where it does not.
pub fn clip_vjp(grads: &[Tensor], limit: f64, cotangents: &[Tensor], episodes: usize) -> Result<Vec<Tensor>> {
    let norms = norms(grads, episodes)?;
    let factors = shrink(&norms, limit)?;
    let limits = (norms.ones_like()? * limit)?;
    let bites = norms.gt(&limits)?.to_dtype(DType::F64)?;
    // Where the limit does not bite the quotient counts nothing, but must be a number: a norm may be zero.
    let along = (dots(grads, cotangents, episodes)? * bites)?;
    let along = (along / norms.maximum(&limits)?.sqr()?)?;
    let one = |(g, c): (&Tensor, &Tensor)| scaled(&(c - scaled(g, &along)?)?, &factors);
    grads.iter().zip(cotangents).map(one).collect()
}
