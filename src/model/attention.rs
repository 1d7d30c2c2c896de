//! Grouped-query causal attention, forward and backward.

#![deny(clippy::disallowed_methods)]

use crate::Result;
use crate::autodiff::Ops;
use crate::autodiff::kernels::{causal_softmax, merge_heads, softmax_vjp, split_heads};

use super::{DecoderConfig, TokenBatch};

/// What attention's backward pass needs: head-major, with the query heads of one key head side by side.
#[derive(Debug, Clone)]
pub(super) struct Kept<V> {
    /// Queries, turned, `(B, kv, groups · S, width)`.
    q: V,
    /// Keys, turned, `(B, kv, S, width)`.
    k: V,
    /// Values, `(B, kv, S, width)`.
    v: V,
    /// Attention weights, `(B, kv, groups · S, S)`.
    p: V,
}

/// `softmax(q kᵀ / √width) v` head by head (Vaswani et al. 2017; grouped queries, Ainslie et al. 2023).
///
/// `q: (B · S, heads · width)`, `k, v: (B · S, kv · width)`, before rotation → `(B · S, heads · width)`.
pub(super) fn forward<V: Ops>(
    config: &DecoderConfig,
    batch: &TokenBatch,
    [q, k, v]: [&V; 3],
) -> Result<(V, Kept<V>)> {
    let (size, tokens, width) = (batch.size(), batch.tokens(), config.head_dim);
    let (heads, kv) = (config.num_heads, config.num_kv_heads);
    let grouped = (size, kv, heads / kv * tokens, width);
    let split = |x: &V, heads: usize, turn: bool| {
        let rows = x.reshape((size, tokens, heads * width))?;
        split_heads(&rows, heads, turn.then_some(&batch.rope))
    };
    let q = split(q, heads, true)?.reshape(grouped)?;
    let (k, v) = (split(k, kv, true)?, split(v, kv, false)?);
    let p = causal_softmax(&q.matmul(&k.t()?)?, &batch.mask, scale(config))?;
    let out = p.matmul(&v)?.reshape((size, heads, tokens, width))?;
    let out = merge_heads(&out, None)?.reshape((size * tokens, heads * width))?;
    Ok((out, Kept { q, k, v, p }))
}

/// Cotangents of q, k and v from that of the output; shapes as in [`forward`].
pub(super) fn backward<V: Ops>(
    config: &DecoderConfig,
    batch: &TokenBatch,
    kept: &Kept<V>,
    dout: &V,
) -> Result<[V; 3]> {
    let (size, tokens, width) = (batch.size(), batch.tokens(), config.head_dim);
    let (heads, kv) = (config.num_heads, config.num_kv_heads);
    let dout = split_heads(&dout.reshape((size, tokens, heads * width))?, heads, None)?;
    let dout = dout.reshape((size, kv, heads / kv * tokens, width))?;
    let dp = dout.matmul(&kept.v.t()?)?;
    let dv = kept.p.t()?.matmul(&dout)?;
    let ds = softmax_vjp(&kept.p, &dp, scale(config))?;
    let dq = ds.matmul(&kept.k)?.reshape((size, heads, tokens, width))?;
    let dk = ds.t()?.matmul(&kept.q)?;
    let merge = |x: &V, heads: usize, turn: bool| {
        merge_heads(x, turn.then_some(&batch.rope))?.reshape((size * tokens, heads * width))
    };
    Ok([merge(&dq, heads, true)?, merge(&dk, kv, true)?, merge(&dv, kv, false)?])
}

fn scale(config: &DecoderConfig) -> f64 {
    1.0 / (config.head_dim as f64).sqrt()
}
