//! A frozen linear map with low-rank adapters beside it, forward and backward.

#![deny(clippy::disallowed_methods)]

use candle_core::D;

use crate::Result;
use crate::autodiff::{MatmulOptions, Ops, Stored};
use crate::config::MatmulPrecision;

use super::Linear;
use super::lora::{LowRank, LowRankGrad};

/// `y = x Wᵀ + b`, and to the columns of each adapted projection `s (x Aᵀ) Bᵀ` of its own   LoRA, Hu et al. 2021.
///
/// `x: (rows, in)` → `y: (rows, out)`, and `z = s x Aᵀ: (rows, R)`, which the backward pass needs.
pub(super) fn forward<V: Ops>(
    linear: &Linear,
    adapter: Option<&LowRank<V>>,
    x: &V,
    stored: Stored,
) -> Result<(V, Option<V>)> {
    let (weight, bias) = (&linear.weight, linear.bias.as_ref());
    let Some(adapter) = adapter else {
        return Ok((x.affine(weight, bias, None, stored)?, None));
    };
    let (LowRank { b, scale, .. }, a) = (adapter, &adapter.joint_a()?);
    let scaled = low(weight.precision(), *scale);
    let z = blocks(x, a)?.matmul(&a.t()?, scaled)?;
    let z = z.reshape((x.primal().dim(0)?, a.primal().dim(D::Minus2)?))?;
    Ok((x.affine(weight, bias, Some((&z, b)), stored)?, Some(z)))
}

/// How z and its cotangent are computed: only products read them.
fn low(precision: MatmulPrecision, scale: f64) -> MatmulOptions {
    MatmulOptions { precision, scale, stored: precision.into() }
}

/// The adapters' gradients `dB = dyᵀ z`, `dA = dzᵀ x` with `dz = s dy B`, and, where it is said how to keep it, the cotangent
/// of the input, `dx = dy W + dz A`.
pub(super) fn backward<V: Ops>(
    linear: &Linear,
    adapter: Option<(&LowRank<V>, &V)>,
    x: &V,
    dy: &V,
    dx: Option<Stored>,
) -> Result<(Option<V>, Option<LowRankGrad<V>>)> {
    let Some((adapter, z)) = adapter else {
        let dx = dx.map(|stored| dy.affine_back(&linear.weight, None, stored)).transpose()?;
        return Ok((dx, None));
    };
    let (LowRank { b, scale, .. }, a) = (adapter, &adapter.joint_a()?);
    let precision = linear.weight.precision();
    let dz = dy.low_back(b, low(precision, *scale))?;
    let (z, dy_blocks) = (blocks(z, a)?, blocks(dy, a)?);
    let (mut rank, mut grads) = (0, vec![]);
    for up in b {
        let (out, r) = (up.b.primal().dim(D::Minus2)?, up.b.primal().dim(D::Minus1)?);
        grads.push(dy_blocks.columns(up.column, out)?.t()?.matmul(&z.columns(rank, r)?, precision)?);
        rank += r;
    }
    let grad = LowRankGrad { a: blocks(&dz, a)?.t()?.matmul(&blocks(x, a)?, precision)?, b: grads };
    let dx = dx.map(|stored| dy.affine_back(&linear.weight, Some((&dz, a)), stored)).transpose()?;
    Ok((dx, Some(grad)))
}

/// The rows of `x: (rows, width)` as the adapter takes them: as they are, or in a block for each episode.
fn blocks<V: Ops>(x: &V, a: &V) -> Result<V> {
    match *a.primal().dims() {
        [episodes, _, _] => {
            let (rows, width) = x.primal().dims2()?;
            x.reshape((episodes, rows / episodes, width))
        }
        _ => Ok(x.clone()),
    }
}
