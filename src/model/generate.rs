//! Decoding with a cache of keys and values, with or without an adapter. Inference only: it uses Candle's
//! fused operations, which have no gradient.

use std::ops::ControlFlow;

use candle_core::{DType, Tensor};
use candle_nn::{ops, rotary_emb};

use super::adapted::{self, LowRank};
use super::block::LayerAdapters;
use super::sampling::{Decoding, Sampler, Sampling};
use super::tape::{self, AdapterRef};
use super::{Decoder, Projection};
use crate::autodiff::{Ops, kernels};
use crate::{Error, Result};

/// Longest piece of a prompt that is read at once, in tokens: bounds the attention scores that are held.
const PREFILL_TOKENS: usize = 512;

/// Result of [`Session::generate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The new tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// What ended it.
    pub ended: Ended,
}

/// What ended a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The model chose a stop token.
    StopToken,
    /// The limit of new tokens was reached.
    Limit,
    /// The caller broke it off.
    Caller,
}

/// For callers of [`Session::generate`] who want its result alone: lets every token pass, and never fails.
pub fn keep_going(_token: u32) -> Result<ControlFlow<()>> {
    Ok(ControlFlow::Continue(()))
}

/// Continues `prompt` with the likeliest token at every step, until `stop` or `max_new_tokens`.
///
/// Returns the new tokens without `stop`.
///
/// # Errors
/// As [`Session::generate`], and an adapter that does not fit.
pub fn greedy(
    model: &Decoder,
    adapter: Option<AdapterRef<'_>>,
    prompt: &[u32],
    stop: u32,
    max_new_tokens: usize,
) -> Result<Vec<u32>> {
    let decoding = Decoding { stops: vec![stop], max_new_tokens, sampling: Sampling::Greedy };
    let mut session = Session::new(model, adapter, prompt.len() + max_new_tokens)?;
    Ok(session.generate(prompt, &decoding, &mut keep_going)?.tokens)
}

/// A decoder that remembers the tokens it has read.
pub struct Session<'a> {
    model: &'a Decoder,
    layers: Vec<LayerState>,
    cos: Tensor,
    sin: Tensor,
    capacity: usize,
    len: usize,
}

/// What a session keeps of one layer.
struct LayerState {
    /// In the compute type.
    adapters: LayerAdapters<Tensor>,
    /// Keys, `(kv_heads, capacity, head_dim)`; values alike.
    keys: Tensor,
    values: Tensor,
}

impl<'a> Session<'a> {
    /// A session that has read nothing, with room for `capacity` tokens; it grows where that is not enough.
    ///
    /// # Errors
    /// An adapter that does not fit, or a device out of memory.
    pub fn new(model: &'a Decoder, adapter: Option<AdapterRef<'_>>, capacity: usize) -> Result<Self> {
        let capacity = capacity.max(1);
        let layers = (0..model.layers.len())
            .map(|index| LayerState::new(model, adapter, index, capacity))
            .collect::<Result<Vec<_>>>()?;
        let (cos, sin) = tape::rope_tables(&model.config, 0, capacity, model.dtype, &model.device)?;
        Ok(Self { model, layers, cos, sin, capacity, len: 0 })
    }

    /// Number of tokens read so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets what was read; the memory and the adapter stay.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Reads `tokens` after those read before; returns the logits that follow the last, `(V)`.
    ///
    /// # Errors
    /// No tokens, one outside the vocabulary, or a device out of memory.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Tensor> {
        self.check(tokens)?;
        if !self.model.device.is_cpu() {
            return self.read(tokens);
        }
        // On a thread of the pool: from outside, each of the many products would wake it and wait.
        rayon::scope(|_| self.read(tokens))
    }

    /// Reads `prompt`, then its own continuation, until a stop token, the limit, or the caller's break.
    ///
    /// `on_token` gets every new token but the stop token, as soon as it is chosen. The last of them has not
    /// been read yet: a later call continues from the token before it, or from nothing after
    /// [`clear`](Self::clear). Without any tokens to generate, the prompt is not read either.
    ///
    /// # Errors
    /// An empty prompt, a token outside the vocabulary, sampling out of range, logits that are not numbers, a
    /// device out of memory, or what `on_token` fails with.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        decoding: &Decoding,
        on_token: &mut dyn FnMut(u32) -> Result<ControlFlow<()>>,
    ) -> Result<Generation> {
        self.check(prompt)?;
        let mut sampler = Sampler::new(decoding.sampling)?;
        let mut tokens = Vec::new();
        let mut next = None;
        while tokens.len() < decoding.max_new_tokens {
            let logits = self.feed(next.as_ref().map_or(prompt, std::slice::from_ref))?;
            let token = sampler.choose(&logits)?;
            if decoding.stops.contains(&token) {
                return Ok(Generation { tokens, ended: Ended::StopToken });
            }
            tokens.push(token);
            if on_token(token)?.is_break() {
                return Ok(Generation { tokens, ended: Ended::Caller });
            }
            next = Some(token);
        }
        Ok(Generation { tokens, ended: Ended::Limit })
    }

    /// Whether `tokens` can be read.
    fn check(&self, tokens: &[u32]) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::Invalid("the prompt is empty".to_owned()));
        }
        let vocab = self.model.config.vocab_size;
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(token) => Err(Error::Invalid(format!("token {token} is outside the vocabulary of {vocab}"))),
            None => Ok(()),
        }
    }

    /// Reads at least one token, piece by piece; the logits that follow the last, `(V)`.
    fn read(&mut self, tokens: &[u32]) -> Result<Tensor> {
        self.reserve(self.len + tokens.len())?;
        let mut last = None;
        for piece in tokens.chunks(PREFILL_TOKENS) {
            last = Some(self.forward(piece)?.narrow(0, piece.len() - 1, 1)?);
        }
        let last = last.expect("there are tokens, so the loop ran");
        Ok(Ops::affine(&last, &self.model.lm_head, None, None)?.squeeze(0)?)
    }

    /// Makes room for `needed` tokens in all.
    fn reserve(&mut self, needed: usize) -> Result<()> {
        if needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed.max(2 * self.capacity);
        for layer in &mut self.layers {
            layer.keys = grown(&layer.keys, self.len, capacity)?;
            layer.values = grown(&layer.values, self.len, capacity)?;
        }
        let model = self.model;
        (self.cos, self.sin) = tape::rope_tables(&model.config, 0, capacity, model.dtype, &model.device)?;
        self.capacity = capacity;
        Ok(())
    }

    /// Hidden states after the last norm for the next tokens, `(S)` → `(S, D)`.
    fn forward(&mut self, tokens: &[u32]) -> Result<Tensor> {
        let (model, eps) = (self.model, self.model.config.rms_norm_eps);
        let ids = Tensor::new(tokens, &model.device)?;
        let mut x = model.embed_tokens.index_select(&ids, 0)?.to_dtype(model.dtype)?;
        let mask = causal_mask(tokens.len(), self.len, model)?;
        for index in 0..model.layers.len() {
            let layer = &model.layers[index];
            let h = norm(&x, &layer.input_norm, eps)?;
            x = (x + self.attention(index, &h, mask.as_ref())?)?;
            let h = norm(&x, &layer.post_attention_norm, eps)?;
            let gate = self.linear(index, Projection::GateProj, &h)?;
            let inner = kernels::swiglu(&gate, &self.linear(index, Projection::UpProj, &h)?)?;
            x = (x + self.linear(index, Projection::DownProj, &inner)?)?;
        }
        self.len += tokens.len();
        norm(&x, &model.norm, eps)
    }

    /// h: `(S, D)` → `(S, D)`. The query heads that share a key head are rows of one product.
    fn attention(&self, index: usize, h: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let config = &self.model.config;
        let (heads, kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        let (len, total, group) = (h.dim(0)?, self.len + h.dim(0)?, heads / kv_heads);
        let q = self.rope(&self.linear(index, Projection::QProj, h)?, heads)?;
        let k = self.rope(&self.linear(index, Projection::KProj, h)?, kv_heads)?;
        let v = self.linear(index, Projection::VProj, h)?.reshape((len, kv_heads, head_dim))?;
        let state = &self.layers[index];
        state.keys.slice_set(&k.transpose(0, 1)?.contiguous()?, 1, self.len)?;
        state.values.slice_set(&v.transpose(0, 1)?.contiguous()?, 1, self.len)?;
        let (keys, values) = (state.keys.narrow(1, 0, total)?, state.values.narrow(1, 0, total)?);
        let q = q.transpose(0, 1)?.contiguous()?.reshape((kv_heads, group * len, head_dim))?;
        let scores = (Ops::matmul(&q, &keys.t()?)? * (1.0 / (head_dim as f64).sqrt()))?;
        let weights = match mask {
            None => ops::softmax_last_dim(&scores)?,
            Some(mask) => {
                let scores = scores.reshape((heads, len, total))?.broadcast_add(mask)?;
                ops::softmax_last_dim(&scores)?.reshape((kv_heads, group * len, total))?
            }
        };
        let mixed = Ops::matmul(&weights, &values)?.reshape((heads, len, head_dim))?;
        let joined = mixed.transpose(0, 1)?.reshape((len, heads * head_dim))?;
        self.linear(index, Projection::OProj, &joined)
    }

    /// Rotates the heads of the next tokens: `(S, H · d)` → `(S, H, d)`.
    fn rope(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (len, width) = x.dims2()?;
        let (cos, sin) = (self.cos.narrow(0, self.len, len)?, self.sin.narrow(0, self.len, len)?);
        let x = x.reshape((1, len, heads, width / heads))?;
        Ok(rotary_emb::rope_thd(&x, &cos, &sin)?.squeeze(0)?)
    }

    /// y = x Wᵀ + b + s (x Aᵀ) Bᵀ, x: `(S, in)`
    fn linear(&self, index: usize, which: Projection, x: &Tensor) -> Result<Tensor> {
        let adapter = self.layers[index].adapters[which as usize].as_ref();
        Ok(adapted::forward(self.model.layers[index].projection(which), adapter, x)?.0)
    }
}

impl LayerState {
    fn new(model: &Decoder, adapter: Option<AdapterRef<'_>>, index: usize, capacity: usize) -> Result<Self> {
        let mut adapters = [const { None }; 7];
        for which in Projection::ALL {
            if let Some((a, b, scale)) = tape::adapter_at(adapter, index, which)? {
                let (a, b) = (a.to_dtype(model.dtype)?, b.to_dtype(model.dtype)?);
                adapters[which as usize] = Some(LowRank { a, b, scale });
            }
        }
        let shape = (model.config.num_kv_heads, capacity, model.config.head_dim);
        let keys = Tensor::zeros(shape, model.dtype, &model.device)?;
        let values = Tensor::zeros(shape, model.dtype, &model.device)?;
        Ok(Self { adapters, keys, values })
    }
}

/// A larger cache with the first `len` entries of `cache`.
fn grown(cache: &Tensor, len: usize, capacity: usize) -> Result<Tensor> {
    let (heads, _, width) = cache.dims3()?;
    let larger = Tensor::zeros((heads, capacity, width), cache.dtype(), cache.device())?;
    if len > 0 {
        larger.slice_set(&cache.narrow(1, 0, len)?.contiguous()?, 1, 0)?;
    }
    Ok(larger)
}

/// Additive mask `(S, read + S)` for tokens that follow `read` others; one token needs none.
fn causal_mask(len: usize, read: usize, model: &Decoder) -> Result<Option<Tensor>> {
    if len == 1 {
        return Ok(None);
    }
    let total = read + len;
    let values: Vec<f32> = (0..len)
        .flat_map(|q| (0..total).map(move |k| if k <= read + q { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Ok(Some(Tensor::from_vec(values, (len, total), &model.device)?.to_dtype(model.dtype)?))
}

/// RMSNorm over the last dimension, fused where Candle has the type.
fn norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    match x.dtype() {
        DType::F64 => Ok(tape::rms_norm(x, gain, eps)?),
        _ => Ok(ops::rms_norm(x, gain, eps as f32)?),
    }
}
