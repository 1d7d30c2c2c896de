//! One frozen linear map with a low-rank adapter beside it, forward and backward.

use crate::Result;
use crate::autodiff::Ops;

use super::Linear;

/// The adapter of one projection: `y += s (x Aᵀ) Bᵀ`.
#[derive(Debug, Clone)]
pub struct LowRank<V> {
    /// A, `(r, in)`.
    pub a: V,
    /// B, `(out, r)`.
    pub b: V,
    /// The scale s.
    pub scale: f64,
}

/// Gradients of one adapter, of the shapes of A and B.
#[derive(Debug, Clone)]
pub struct LowRankGrad<V> {
    /// `(r, in)`.
    pub a: V,
    /// `(out, r)`.
    pub b: V,
}

/// `y = x Wᵀ + b + s (x Aᵀ) Bᵀ`   LoRA, Hu et al. 2021.
///
/// `x: (rows, in)` → `y: (rows, out)`, and `z = s x Aᵀ: (rows, r)`, which the backward pass needs.
pub(super) fn forward<V: Ops>(
    linear: &Linear,
    adapter: Option<&LowRank<V>>,
    x: &V,
) -> Result<(V, Option<V>)> {
    let mut y = x.project(&linear.weight)?;
    if let Some(bias) = &linear.bias {
        let bias = bias.broadcast_as(y.primal().shape())?;
        y = y.add(&V::constant(&bias))?;
    }
    let Some(LowRank { a, b, scale }) = adapter else {
        return Ok((y, None));
    };
    let z = x.matmul(&a.t()?)?.scale(*scale)?;
    let y = y.add_matmul(&z, &b.t()?)?;
    Ok((y, Some(z)))
}

/// The adapter's gradient `dB = dyᵀ z`, `dA = dzᵀ x` with `dz = s dy B`, and, if asked for, the cotangent of
/// the input added to `dx`: `dx += dy W + dz A`.
pub(super) fn backward<V: Ops>(
    linear: &Linear,
    adapter: Option<&LowRank<V>>,
    x: &V,
    z: Option<&V>,
    dy: &V,
    dx: Option<&mut Option<V>>,
) -> Result<Option<LowRankGrad<V>>> {
    let through = match (adapter, z) {
        (Some(LowRank { a, b, scale }), Some(z)) => {
            let dz = dy.matmul(b)?.scale(*scale)?;
            let grad = LowRankGrad { a: dz.t()?.matmul(x)?, b: dy.t()?.matmul(z)? };
            Some((a, dz, grad))
        }
        _ => None,
    };
    if let Some(dx) = dx {
        let mut sum = dy.project_back(&linear.weight)?;
        if let Some((a, dz, _)) = &through {
            sum = sum.add_matmul(dz, a)?;
        }
        *dx = Some(match dx.take() {
            Some(dx) => dx.add(&sum)?,
            None => sum,
        });
    }
    Ok(through.map(|(_, _, grad)| grad))
}
