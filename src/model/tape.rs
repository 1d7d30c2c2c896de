//! The forward pass in operations that Candle's tape can differentiate: a reference, for tests and pretraining.
//!
//! Nothing that is trained, encoded or asked runs through it but `perk pretrain`, whose weights are Candle
//! `Var`s. It is slow and plain on purpose, and states the decoder once more, independently of the layers
//! written by hand: it is the oracle that those are tested against. Candle's fused norm, rope and softmax cut the
//! gradient silently, so none of them is used here.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::silu;

use super::lora::{AdapterRef, check};
use super::rotary::RotaryTables;
use super::{Decoder, DecoderConfig, Layer, Projection};
use crate::Result;

/// Added to the scores of keys that must not be read: far below any score, and finite, so that a row that
/// may read nothing stays finite too.
const MASKED: f64 = -1e9;

/// Logits of every position.
///
/// - ids: `(B, S)` u32, key_mask: `(B, S)`, 0 for tokens that no other may read, any type → `(B, S, V)` in
///   the compute type. Positions count from 0 at the left edge, masked tokens included.
///
/// # Errors
/// Shapes that do not fit, a token outside the vocabulary, or a device out of memory.
pub fn logits(
    model: &Decoder,
    adapter: Option<AdapterRef<'_>>,
    ids: &Tensor,
    key_mask: Option<&Tensor>,
) -> Result<Tensor> {
    let hidden = hidden(model, adapter, ids, key_mask)?;
    let head = model.lm_head.tensor()?.to_dtype(model.dtype)?;
    Ok(matmul(&hidden, &head)?)
}

/// Hidden state of every position after the last norm, `(B, S, D)`; arguments and errors as [`logits`].
///
/// # Errors
/// As [`logits`].
pub fn hidden(
    model: &Decoder,
    adapter: Option<AdapterRef<'_>>,
    ids: &Tensor,
    key_mask: Option<&Tensor>,
) -> Result<Tensor> {
    let mut states = hidden_states(model, adapter, ids, key_mask)?;
    Ok(states.pop().expect("the states hold at least the last norm's output"))
}

/// What enters each layer, then the output of the last norm: `layers + 1` tensors `(B, S, D)`, as
/// transformers returns them.
///
/// # Errors
/// As [`logits`].
pub fn hidden_states(
    model: &Decoder,
    adapter: Option<AdapterRef<'_>>,
    ids: &Tensor,
    key_mask: Option<&Tensor>,
) -> Result<Vec<Tensor>> {
    let (batch, len) = ids.dims2()?;
    let (config, dtype, device) = (&model.config, model.dtype, &model.device);
    let rotary = RotaryTables::new(config, len, dtype, device)?;
    let adapters = by_projection(config, adapter)?;
    let pass = Pass { model, adapters, rotary, mask: attention_mask(len, key_mask, dtype, device)? };
    let rows = model.embed_tokens.rows(&ids.flatten_all()?, dtype)?;
    let mut x = rows.reshape((batch, len, config.hidden_size))?;
    let mut states = Vec::with_capacity(config.num_layers + 1);
    for index in 0..model.layers.len() {
        states.push(x.clone());
        x = pass.layer(index, &x)?;
    }
    states.push(rms_norm(&x, &model.norm, config.rms_norm_eps)?);
    Ok(states)
}

/// Additive mask `(1 or B, 1, S, S)`: zero where a query may read a key.
fn attention_mask(len: usize, key_mask: Option<&Tensor>, dtype: DType, device: &Device) -> Result<Tensor> {
    let causal: Vec<u8> = (0..len).flat_map(|q| (0..len).map(move |k| u8::from(k <= q))).collect();
    let causal = Tensor::from_vec(causal, (1, 1, len, len), device)?;
    let allowed = match key_mask {
        None => causal,
        Some(mask) => {
            let (batch, len) = mask.dims2()?;
            causal.broadcast_mul(&mask.ne(0f64)?.reshape((batch, 1, 1, len))?)?
        }
    };
    Ok(allowed.to_dtype(dtype)?.affine(-MASKED, MASKED)?)
}

/// The adapter of one projection.
#[derive(Clone)]
struct LowRank {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

/// The adapters of each layer, by projection.
fn by_projection(
    config: &DecoderConfig,
    adapter: Option<AdapterRef<'_>>,
) -> Result<Vec<[Option<LowRank>; 7]>> {
    let mut layers = vec![[const { None }; 7]; config.num_layers];
    if let Some((layout, tensors)) = adapter {
        check(config, layout, tensors)?;
        for (site, pair) in layout.sites.iter().zip(tensors.chunks_exact(2)) {
            let (a, b, scale) = (pair[0].clone(), pair[1].clone(), layout.spec.scale());
            layers[site.layer][site.projection as usize] = Some(LowRank { a, b, scale });
        }
    }
    Ok(layers)
}

/// What the layers of one forward pass share.
struct Pass<'a> {
    model: &'a Decoder,
    adapters: Vec<[Option<LowRank>; 7]>,
    rotary: RotaryTables,
    mask: Tensor,
}

impl Pass<'_> {
    /// x: `(B, S, D)` → `(B, S, D)`: x + attention(norm x), then the same with the feed-forward.
    fn layer(&self, index: usize, x: &Tensor) -> Result<Tensor> {
        let layer: &Layer = &self.model.layers[index];
        let eps = self.model.config.rms_norm_eps;
        let x = (x + self.attention(index, &rms_norm(x, &layer.norms.input, eps)?)?)?;
        let h = rms_norm(&x, &layer.norms.post_attention, eps)?;
        let gate = silu(&self.linear(index, Projection::GateProj, &h)?)?;
        let inner = (gate * self.linear(index, Projection::UpProj, &h)?)?;
        Ok((x + self.linear(index, Projection::DownProj, &inner)?)?)
    }

    fn attention(&self, index: usize, h: &Tensor) -> Result<Tensor> {
        let config = &self.model.config;
        let (heads, kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        let mut q = split_heads(&self.linear(index, Projection::QProj, h)?, heads)?;
        let mut k = split_heads(&self.linear(index, Projection::KProj, h)?, kv_heads)?;
        if let Some([q_gain, k_gain]) = &self.model.layers[index].norms.heads {
            q = rms_norm(&q, q_gain, config.rms_norm_eps)?;
            k = rms_norm(&k, k_gain, config.rms_norm_eps)?;
        }
        let (q, k) = (self.rope(&q)?, self.rope(&k)?);
        let v = split_heads(&self.linear(index, Projection::VProj, h)?, kv_heads)?;
        let (k, v) = (repeat_heads(&k, heads / kv_heads)?, repeat_heads(&v, heads / kv_heads)?);
        let scores = (q.matmul(&k.t()?)? * (1.0 / (head_dim as f64).sqrt()))?;
        let mixed = softmax(&scores.broadcast_add(&self.mask)?)?.matmul(&v)?;
        let (batch, _, len, _) = mixed.dims4()?;
        let joined = mixed.transpose(1, 2)?.reshape((batch, len, heads * head_dim))?;
        self.linear(index, Projection::OProj, &joined)
    }

    /// y = x Wᵀ + b + s (x Aᵀ) Bᵀ
    fn linear(&self, index: usize, which: Projection, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = self.model.projection(index, which)?;
        let mut y = matmul(x, &weight.to_dtype(self.model.dtype)?)?;
        if let Some(bias) = bias {
            y = y.broadcast_add(&bias)?;
        }
        match &self.adapters[index][which as usize] {
            None => Ok(y),
            Some(LowRank { a, b, scale }) => Ok((y + (matmul(&matmul(x, a)?, b)? * *scale)?)?),
        }
    }

    /// Rotates the halves of each head: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin)   RoPE, Su et al. 2021
    fn rope(&self, x: &Tensor) -> Result<Tensor> {
        let RotaryTables { cos, sin } = &self.rotary;
        let half = x.dim(D::Minus1)? / 2;
        let (x1, x2) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let first = (x1.broadcast_mul(cos)? - x2.broadcast_mul(sin)?)?;
        let second = (x2.broadcast_mul(cos)? + x1.broadcast_mul(sin)?)?;
        Ok(Tensor::cat(&[first, second], D::Minus1)?)
    }
}

/// x: `(.., in)`, weight: `(out, in)` → `(.., out)`
fn matmul(x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
    let (batch, len, width) = x.dims3()?;
    x.reshape((batch * len, width))?.matmul(&weight.t()?)?.reshape((batch, len, weight.dim(0)?))
}

/// `(B, S, H · d)` → `(B, H, S, d)`
fn split_heads(x: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (batch, len, width) = x.dims3()?;
    x.reshape((batch, len, heads, width / heads))?.transpose(1, 2)?.contiguous()
}

/// `(B, H, S, d)` → `(B, H · times, S, d)`, each head repeated in place.
fn repeat_heads(x: &Tensor, times: usize) -> candle_core::Result<Tensor> {
    if times == 1 {
        return Ok(x.clone());
    }
    let (batch, heads, len, width) = x.dims4()?;
    let repeated = x.unsqueeze(2)?.expand((batch, heads, times, len, width))?;
    repeated.contiguous()?.reshape((batch, heads * times, len, width))
}

/// y = x ⊙ g / √(mean(x²) + ε)   RMSNorm, Zhang & Sennrich 2019
fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> candle_core::Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)?.broadcast_mul(gain)
}

/// Softmax over the last dimension; the maximum is subtracted as a constant, which changes no derivative.
fn softmax(x: &Tensor) -> candle_core::Result<Tensor> {
    let largest = x.detach().max_keepdim(D::Minus1)?;
    let weights = x.broadcast_sub(&largest)?.exp()?;
    weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
}
