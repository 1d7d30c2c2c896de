//! One frozen linear map with a low-rank adapter beside it, forward and backward.

#![deny(clippy::disallowed_methods)]

use crate::Result;
use crate::autodiff::Ops;

use super::Linear;
use super::lora::{LowRank, LowRankGrad};

/// `y = x Wᵀ + b + s (x Aᵀ) Bᵀ`   LoRA, Hu et al. 2021.
///
/// `x: (rows, in)` → `y: (rows, out)`, and `z = s x Aᵀ: (rows, r)`, which the backward pass needs.
pub(super) fn forward<V: Ops>(
    linear: &Linear,
    adapter: Option<&LowRank<V>>,
    x: &V,
) -> Result<(V, Option<V>)> {
    let (weight, bias) = (&linear.weight, linear.bias.as_ref());
    let Some(LowRank { a, b, scale }) = adapter else {
        return Ok((x.affine(weight, bias, None)?, None));
    };
    let z = x.matmul(&a.t()?)?.scale(*scale)?;
    Ok((x.affine(weight, bias, Some((&z, b)))?, Some(z)))
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
        let low = through.as_ref().map(|(a, dz, _)| (dz, *a));
        let sum = dy.affine_back(&linear.weight, low)?;
        *dx = Some(match dx.take() {
            Some(dx) => dx.add(&sum)?,
            None => sum,
        });
    }
    Ok(through.map(|(_, _, grad)| grad))
}
