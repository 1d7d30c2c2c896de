//! Norms and grouped-query causal attention over a batch of rows, forward and backward.

#![deny(clippy::disallowed_methods)]

use crate::Result;
use crate::autodiff::kernels::{
    Gain, HeadsOf, causal_softmax, merge_heads, rms_norm, rms_norm_vjp, softmax_vjp, split_heads,
};
use crate::autodiff::{Ops, Stored};
use crate::config::MatmulPrecision;

use super::block::Mode;
use super::{DecoderConfig, TokenBatch};

/// A layer reads all tokens of a batch at once, and can be differentiated.
pub(super) struct OverBatch<'a> {
    pub config: &'a DecoderConfig,
    pub batch: &'a TokenBatch,
    /// What products of activations are taken at.
    pub precision: MatmulPrecision,
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
    /// Queries and keys before their norms, if they have any, `(B, heads, S, width)` each.
    before_norms: Option<[V; 2]>,
}

impl<V: Ops> Mode<V> for OverBatch<'_> {
    type Gain = Gain;
    type Residuals = Residuals<V>;

    fn norm(&self, x: &V, gain: &Gain) -> Result<V> {
        rms_norm(x, gain, self.config.rms_norm_eps, self.precision.into())
    }

    fn stored(&self) -> Stored {
        self.precision.into()
    }

    /// `softmax(q kᵀ / √width) v` head by head (Vaswani et al. 2017; grouped queries, Ainslie et al. 2023).
    fn attend(&self, qkv: &V, gains: Option<&[Gain; 2]>) -> Result<(V, Residuals<V>)> {
        let (config, sizes) = (self.config, self.sizes());
        let Sizes { batch, tokens, width, heads, kv } = sizes;
        let qkv = qkv.reshape((batch, tokens, (heads + 2 * kv) * width))?;
        let stored = self.precision.into();
        let v = split_heads(&qkv, HeadsOf { first: heads + kv, count: kv, width }, None, stored)?;
        let [q, k] = [HeadsOf { first: 0, count: heads, width }, HeadsOf { first: heads, count: kv, width }];
        let (q, k, before_norms) = match gains {
            None => {
                let rope = Some(&self.batch.rope);
                (split_heads(&qkv, q, rope, stored)?, split_heads(&qkv, k, rope, stored)?, None)
            }
            Some([of_q, of_k]) => {
                let before = [q, k].map(|heads| split_heads(&qkv, heads, None, stored));
                let [q, k] = before;
                let before = [q?, k?];
                let [q, k] = &before;
                (self.turn(&self.norm(q, of_q)?)?, self.turn(&self.norm(k, of_k)?)?, Some(before))
            }
        };
        let q = q.reshape((batch, kv, heads / kv * tokens, width))?;
        let scores = q.matmul(&k.t()?, self.precision)?;
        let p = causal_softmax(&scores, &self.batch.mask, config.attention_scale(), stored)?;
        let out = p.matmul(&v, self.precision)?.reshape((batch, heads, tokens, width))?;
        let out = merge_heads([&out], [None], stored)?.reshape((batch * tokens, heads * width))?;
        Ok((out, Residuals { q, k, v, p, before_norms }))
    }
}

/// Sizes of a batch of heads.
struct Sizes {
    batch: usize,
    tokens: usize,
    width: usize,
    heads: usize,
    kv: usize,
}

impl OverBatch<'_> {
    fn sizes(&self) -> Sizes {
        let (batch, config) = (self.batch, self.config);
        let (heads, kv) = (config.num_heads, config.num_kv_heads);
        Sizes { batch: batch.size(), tokens: batch.tokens(), width: config.head_dim, heads, kv }
    }

    /// Turns `x: (B, heads, S, width)` by each token's angle.
    fn turn<V: Ops>(&self, x: &V) -> Result<V> {
        let (batch, heads, tokens, width) = x.primal().dims4()?;
        let one = HeadsOf { first: 0, count: 1, width };
        split_heads(
            &x.reshape((batch * heads, tokens, width))?,
            one,
            Some(&self.batch.rope),
            self.precision.into(),
        )?
        .reshape((batch, heads, tokens, width))
    }

    /// The transpose and inverse of [`turn`](Self::turn).
    fn turn_back<V: Ops>(&self, x: &V) -> Result<V> {
        let (batch, heads, tokens, width) = x.primal().dims4()?;
        let x = x.reshape((batch * heads, 1, tokens, width))?;
        merge_heads([&x], [Some(&self.batch.rope)], Stored::Whole)?.reshape((batch, heads, tokens, width))
    }

    /// Cotangent of a norm's input.
    pub fn norm_vjp<V: Ops>(&self, x: &V, gain: &Gain, dy: &V) -> Result<V> {
        rms_norm_vjp(x, gain, self.config.rms_norm_eps, dy)
    }

    /// Cotangent of queries, keys and values from that of the attention's output; shapes as there.
    pub fn backward<V: Ops>(
        &self,
        residuals: &Residuals<V>,
        gains: Option<&[Gain; 2]>,
        dout: &V,
    ) -> Result<V> {
        let (scale, Sizes { batch, tokens, width, heads, kv }) =
            (self.config.attention_scale(), self.sizes());
        let (all, stored) = (HeadsOf { first: 0, count: heads, width }, self.precision.into());
        let dout = split_heads(&dout.reshape((batch, tokens, heads * width))?, all, None, stored)?;
        let dout = dout.reshape((batch, kv, heads / kv * tokens, width))?;
        let dp = dout.matmul(&residuals.v.t()?, self.precision)?;
        let dv = residuals.p.t()?.matmul(&dout, self.precision)?;
        let ds = softmax_vjp(&residuals.p, &dp, scale, stored)?;
        let mut dq = ds.matmul(&residuals.k, self.precision)?.reshape((batch, heads, tokens, width))?;
        let mut dk = ds.t()?.matmul(&residuals.q, self.precision)?;
        let mut rope = Some(&self.batch.rope);
        if let (Some([of_q, of_k]), Some([q, k])) = (gains, &residuals.before_norms) {
            dq = self.norm_vjp(q, of_q, &self.turn_back(&dq)?)?;
            dk = self.norm_vjp(k, of_k, &self.turn_back(&dk)?)?;
            rope = None;
        }
        let dqkv = merge_heads([&dq, &dk, &dv], [rope, rope, None], stored)?;
        dqkv.reshape((batch * tokens, (heads + 2 * kv) * width))
    }
}
