//! Norms and grouped-query causal attention over a batch of rows, forward and backward.

#![deny(clippy::disallowed_methods)]

use crate::Result;
use crate::autodiff::Ops;
use crate::autodiff::kernels::{
    Gain, causal_softmax, merge_heads, rms_norm, rms_norm_vjp, softmax_vjp, split_heads,
};

use super::block::Mode;
use super::{DecoderConfig, TokenBatch};

/// A layer reads all tokens of a batch at once, and can be differentiated.
pub(super) struct OverBatch<'a> {
    pub config: &'a DecoderConfig,
    pub batch: &'a TokenBatch,
}

/// What attention's backward pass needs: head-major, with the query heads of one key head side by side.
#[derive(Debug, Clone)]
pub(super) struct Residuals<V> {
    /// Queries, turned, `(B, kv, groups · S, width)`.
    q: V,
    /// Keys, turned, `(B, kv, S, width)`.
    k: V,
    /// Values, `(B, kv, S, width)`.
    v: V,
    /// Attention weights, `(B, kv, groups · S, S)`.
    p: V,
}

impl<V: Ops> Mode<V> for OverBatch<'_> {
    type Gain = Gain;
    type Residuals = Residuals<V>;

    fn norm(&self, x: &V, gain: &Gain) -> Result<V> {
        rms_norm(x, gain, self.config.rms_norm_eps)
    }

    /// `softmax(q kᵀ / √width) v` head by head (Vaswani et al. 2017; grouped queries, Ainslie et al. 2023).
    fn attend(&self, [q, k, v]: [&V; 3]) -> Result<(V, Residuals<V>)> {
        let (batch, config) = (self.batch, self.config);
        let (size, tokens, width) = (batch.size(), batch.tokens(), config.head_dim);
        let (heads, kv) = (config.num_heads, config.num_kv_heads);
        let grouped = (size, kv, heads / kv * tokens, width);
        let split = |x: &V, heads: usize, turn: bool| {
            let rows = x.reshape((size, tokens, heads * width))?;
            split_heads(&rows, heads, turn.then_some(&batch.rope))
        };
        let q = split(q, heads, true)?.reshape(grouped)?;
        let (k, v) = (split(k, kv, true)?, split(v, kv, false)?);
        let p = causal_softmax(&q.matmul(&k.t()?)?, &batch.mask, config.attention_scale())?;
        let out = p.matmul(&v)?.reshape((size, heads, tokens, width))?;
        let out = merge_heads(&out, None)?.reshape((size * tokens, heads * width))?;
        Ok((out, Residuals { q, k, v, p }))
    }
}

impl OverBatch<'_> {
    /// Cotangent of a norm's input.
    pub fn norm_vjp<V: Ops>(&self, x: &V, gain: &Gain, dy: &V) -> Result<V> {
        rms_norm_vjp(x, gain, self.config.rms_norm_eps, dy)
    }

    /// Cotangents of q, k and v from that of the attention's output; shapes as there.
    pub fn backward<V: Ops>(&self, residuals: &Residuals<V>, dout: &V) -> Result<[V; 3]> {
        let (batch, config) = (self.batch, self.config);
        let (size, tokens, width) = (batch.size(), batch.tokens(), config.head_dim);
        let (heads, kv) = (config.num_heads, config.num_kv_heads);
        let dout = split_heads(&dout.reshape((size, tokens, heads * width))?, heads, None)?;
        let dout = dout.reshape((size, kv, heads / kv * tokens, width))?;
        let dp = dout.matmul(&residuals.v.t()?)?;
        let dv = residuals.p.t()?.matmul(&dout)?;
        let ds = softmax_vjp(&residuals.p, &dp, config.attention_scale())?;
        let dq = ds.matmul(&residuals.k)?.reshape((size, heads, tokens, width))?;
        let dk = ds.t()?.matmul(&residuals.q)?;
        let merge = |x: &V, heads: usize, turn: bool| {
            merge_heads(x, turn.then_some(&batch.rope))?.reshape((size * tokens, heads * width))
        };
        Ok([merge(&dq, heads, true)?, merge(&dk, kv, true)?, merge(&dv, kv, false)?])
    }
}
