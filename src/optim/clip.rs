//! Clipping of a gradient by its global norm, and its vector-Jacobian product.

use candle_core::Tensor;

use super::adamw::total;
use crate::Result;

/// √Σ x² over all numbers of all tensors, summed in f64.
pub fn global_norm(tensors: &[Tensor]) -> Result<f64> {
    Ok(dot(tensors, tensors)?.sqrt())
}

fn dot(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    a.iter().zip(b).map(|(a, b)| total(&(a * b)?)).sum()
}

/// `g · min(1, limit / ‖g‖)`.
pub fn clip(grads: &[Tensor], limit: f64) -> Result<Vec<Tensor>> {
    let norm = global_norm(grads)?;
    if norm <= limit {
        return Ok(grads.to_vec());
    }
    grads.iter().map(|g| Ok((g * (limit / norm))?)).collect()
}

/// Cotangent of the unclipped gradient from that of the clipped one:
/// `(limit / ‖g‖) (c − g ⟨g, c⟩ / ‖g‖²)` where the limit bites, `c` where it does not.
pub fn clip_vjp(grads: &[Tensor], limit: f64, cotangents: &[Tensor]) -> Result<Vec<Tensor>> {
    let norm = global_norm(grads)?;
    if norm <= limit {
        return Ok(cotangents.to_vec());
    }
    let along = dot(grads, cotangents)? / (norm * norm);
    let one = |(g, c): (&Tensor, &Tensor)| Ok(((c - (g * along)?)? * (limit / norm))?);
    grads.iter().zip(cotangents).map(one).collect()
}
