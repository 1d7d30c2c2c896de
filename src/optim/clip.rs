//! Clipping of a gradient by its global norm, and its vector-Jacobian product.
//!
//! Whether the limit bites is decided on the device, by arithmetic: the host is not asked.

use candle_core::{DType, Tensor};

use super::rule::total;
use crate::{Error, Result};

/// √Σ x² over all numbers of all tensors, summed in f64. Reads one number back from the device.
#[expect(clippy::disallowed_methods, reason = "one number, which the outer loop decides by")]
pub fn global_norm(tensors: &[Tensor]) -> Result<f64> {
    Ok(norm(tensors)?.to_scalar()?)
}

/// `min(1, limit / norm)`: what a gradient of this norm is multiplied with; 1 without a limit.
pub fn clip_factor(norm: f64, limit: Option<f64>) -> f64 {
    limit.map_or(1.0, |limit| (limit / norm).min(1.0))
}

fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    Ok(dot(tensors, tensors)?.sqrt()?)
}

fn dot(a: &[Tensor], b: &[Tensor]) -> Result<Tensor> {
    let parts = a.iter().zip(b).map(|(a, b)| total(&(a * b)?)).collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        return Err(Error::Invalid("a gradient of no tensors has no norm".into()));
    }
    Ok(Tensor::stack(&parts, 0)?.sum_all()?)
}

/// `g · min(1, limit / ‖g‖)`.
pub fn clip(grads: &[Tensor], limit: f64) -> Result<Vec<Tensor>> {
    let factor = shrink(&norm(grads)?, limit)?;
    grads.iter().map(|g| scaled(g, &factor)).collect()
}

/// `min(1, limit / ‖g‖)`.
fn shrink(norm: &Tensor, limit: f64) -> Result<Tensor> {
    let ones = norm.ones_like()?;
    Ok(((&ones * limit)? / norm)?.minimum(&ones)?)
}

fn scaled(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_mul(&factor.to_dtype(x.dtype())?)?)
}

/// Cotangent of the unclipped gradient from that of the clipped one:
/// `(limit / ‖g‖) (c − g ⟨g, c⟩ / ‖g‖²)` where the limit bites, `c` where it does not.
pub fn clip_vjp(grads: &[Tensor], limit: f64, cotangents: &[Tensor]) -> Result<Vec<Tensor>> {
    let norm = norm(grads)?;
    let factor = shrink(&norm, limit)?;
    let limits = (norm.ones_like()? * limit)?;
    let bites = norm.gt(&limits)?.to_dtype(DType::F64)?;
    // Where the limit does not bite the quotient counts nothing, but must be a number: a norm may be zero.
    let along = (dot(grads, cotangents)? * bites)?;
    let along = (along / norm.maximum(&limits)?.sqr()?)?;
    let one = |(g, c): (&Tensor, &Tensor)| scaled(&(c - scaled(g, &along)?)?, &factor);
    grads.iter().zip(cotangents).map(one).collect()
}
