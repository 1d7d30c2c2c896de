//! The forward pass over rows of tokens that are read side by side, with a cache of their keys and values.
//!
//! Rows of different lengths are padded on the left, so that all of them write the same slot of the cache and end
//! in the same column. A row counts its positions from its own first token, and no token of a row reads a pad:
//! the padding does not change what a row means. Pads read pads, so that their numbers stay finite.

use candle_core::{DType, Tensor};
use candle_nn::{ops, rotary_emb};

use crate::Result;
use crate::autodiff::{Ops, kernels};
use crate::model::lora::{AdapterRef, LayerAdapters, LowRank, adapters_of};
use crate::model::{Decoder, Projection, adapted, tape};

/// Most tokens that are read at once, of all rows together: bounds the attention scores that are held.
const PREFILL_TOKENS: usize = 512;

/// Stands in a row before its first token; every vocabulary has it.
const PAD: u32 = 0;

/// A decoder that reads rows of tokens side by side and remembers them.
pub(super) struct Rows<'a> {
    model: &'a Decoder,
    layers: Vec<LayerState>,
    /// Tables of the rotation, `(capacity, head_dim / 2)`.
    cos: Tensor,
    sin: Tensor,
    /// Slots of the cache in each row.
    capacity: usize,
    /// Slots in use, the same in every row.
    len: usize,
    /// How many of them are pads, at the left edge; one number a row.
    pads: Vec<usize>,
}

/// What is kept of one layer.
struct LayerState {
    /// In the compute type.
    adapters: LayerAdapters<Tensor>,
    /// Keys, `(rows, kv_heads, capacity, head_dim)`; values alike.
    keys: Tensor,
    values: Tensor,
}

/// What the layers share while the next S tokens of B rows are read.
struct Piece {
    rows: usize,
    len: usize,
    /// Tables of the rotation, `(S, head_dim / 2)` or, where the rows' positions differ, `(B, S, head_dim / 2)`.
    cos: Tensor,
    sin: Tensor,
    /// Added to the scores, `(1 or B, 1, S, read + S)`; none where every query may read every key.
    mask: Option<Tensor>,
}

impl<'a> Rows<'a> {
    /// `rows` rows that have read nothing, with room for `capacity` tokens each; it grows where that is not
    /// enough.
    ///
    /// # Errors
    /// An adapter that does not fit, or a device out of memory.
    pub fn new(
        model: &'a Decoder,
        adapter: Option<AdapterRef<'_>>,
        rows: usize,
        capacity: usize,
    ) -> Result<Self> {
        let capacity = capacity.max(1);
        let adapters = adapters_of(&model.config, adapter)?;
        let state = |adapters| LayerState::new(model, adapters, (rows, capacity));
        let layers = adapters.into_iter().map(state).collect::<Result<Vec<_>>>()?;
        let (cos, sin) = tape::rope_tables(&model.config, 0, capacity, model.dtype, &model.device)?;
        Ok(Self { model, layers, cos, sin, capacity, len: 0, pads: vec![0; rows] })
    }

    /// What reads.
    pub fn model(&self) -> &'a Decoder {
        self.model
    }

    /// Number of tokens that the longest row has read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Forgets what was read; the memory and the adapter stay.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Goes on with the rows of these numbers alone, which get the numbers 0, 1, ….
    ///
    /// # Errors
    /// A device out of memory.
    pub fn keep(&mut self, rows: &[usize]) -> Result<()> {
        if rows.len() == self.pads.len() {
            return Ok(());
        }
        let ids: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        let ids = Tensor::new(ids, &self.model.device)?;
        for layer in &mut self.layers {
            layer.keys = layer.keys.index_select(&ids, 0)?;
            layer.values = layer.values.index_select(&ids, 0)?;
        }
        self.pads = rows.iter().map(|&row| self.pads[row]).collect();
        Ok(())
    }

    /// Reads the next tokens of every row; returns the logits that follow the last of each, `(rows, V)`.
    ///
    /// There must be a row of tokens for each row of the cache, of one length; only what is read first may differ
    /// in length. No row may be empty, and every token must be in the vocabulary.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn read(&mut self, tokens: &[&[u32]]) -> Result<Tensor> {
        if !self.model.device.is_cpu() {
            return self.read_here(tokens);
        }
        // On a thread of the pool: from outside, each of the many products would wake it and wait.
        rayon::scope(|_| self.read_here(tokens))
    }

    fn read_here(&mut self, tokens: &[&[u32]]) -> Result<Tensor> {
        let width = tokens.iter().map(|row| row.len()).max().unwrap_or(0);
        if self.len == 0 {
            self.pads = tokens.iter().map(|row| width - row.len()).collect();
        }
        let padded: Vec<Vec<u32>> =
            tokens.iter().map(|row| [&vec![PAD; width - row.len()], *row].concat()).collect();
        self.reserve(self.len + width)?;
        let step = (PREFILL_TOKENS / tokens.len()).max(1);
        let mut last = None;
        for from in (0..width).step_by(step) {
            let to = width.min(from + step);
            let piece: Vec<u32> = padded.iter().flat_map(|row| &row[from..to]).copied().collect();
            last = Some(self.forward(&piece, to - from)?);
        }
        let last = last.expect("there are tokens, so the loop ran");
        Ops::affine(&last, &self.model.lm_head, None, None)
    }

    /// Makes room for `needed` tokens a row in all.
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

    /// Reads the next `len` tokens of every row, `(B · S)`; returns the hidden states of each row's last after the
    /// last norm, `(B, D)`.
    fn forward(&mut self, tokens: &[u32], len: usize) -> Result<Tensor> {
        let (model, eps) = (self.model, self.model.config.rms_norm_eps);
        let piece = self.piece(len)?;
        let ids = Tensor::new(tokens, &model.device)?;
        let mut x = model.embed_tokens.index_select(&ids, 0)?.to_dtype(model.dtype)?;
        for index in 0..model.layers.len() {
            let layer = &model.layers[index];
            let h = norm(&x, &layer.input_norm, eps)?;
            x = (x + self.attention(index, &h, &piece)?)?;
            let h = norm(&x, &layer.post_attention_norm, eps)?;
            let gate = self.linear(index, Projection::GateProj, &h)?;
            let inner = kernels::swiglu(&gate, &self.linear(index, Projection::UpProj, &h)?)?;
            x = (x + self.linear(index, Projection::DownProj, &inner)?)?;
        }
        self.len += len;
        let last = x.reshape((piece.rows, len, ()))?.narrow(1, len - 1, 1)?.squeeze(1)?;
        norm(&last.contiguous()?, &model.norm, eps)
    }

    /// What the layers need to know of the next `len` tokens of every row.
    fn piece(&self, len: usize) -> Result<Piece> {
        let rows = self.pads.len();
        let mask = self.mask(len)?;
        if self.pads.iter().all(|&pads| pads == 0) {
            let (cos, sin) = (self.cos.narrow(0, self.len, len)?, self.sin.narrow(0, self.len, len)?);
            return Ok(Piece { rows, len, cos, sin, mask });
        }
        let slots = self.len..self.len + len;
        // A pad's position means nothing.
        let position = |slot: usize, pads: usize| slot.saturating_sub(pads) as u32;
        let positions =
            self.pads.iter().flat_map(|&pads| slots.clone().map(move |slot| position(slot, pads)));
        let positions = Tensor::new(positions.collect::<Vec<_>>(), &self.model.device)?;
        let table = |all: &Tensor| all.index_select(&positions, 0)?.reshape((rows, len, ()));
        Ok(Piece { rows, len, cos: table(&self.cos)?, sin: table(&self.sin)?, mask })
    }

    /// Additive mask for the next S = `len` tokens of every row, `(1 or B, 1, S, read + S)`: zero where a query
    /// may read a key. One token a row that has no pads before it may read all.
    fn mask(&self, len: usize) -> Result<Option<Tensor>> {
        let padded = self.pads.iter().any(|&pads| pads > 0);
        if len == 1 && !padded {
            return Ok(None);
        }
        let (read, total) = (self.len, self.len + len);
        // Without pads one mask serves all rows.
        let pads = if padded { &self.pads[..] } else { &[0] };
        let mut values = Vec::with_capacity(pads.len() * len * total);
        for &pads in pads {
            for query in read..total {
                let open = |key: usize| key <= query && (key >= pads || query < pads);
                values.extend((0..total).map(|key| if open(key) { 0f32 } else { f32::NEG_INFINITY }));
            }
        }
        let mask = Tensor::from_vec(values, (pads.len(), 1, len, total), &self.model.device)?;
        Ok(Some(mask.to_dtype(self.model.dtype)?))
    }

    /// h: `(B · S, D)` → `(B · S, D)`. The query heads that share a key head are rows of one product.
    fn attention(&self, index: usize, h: &Tensor, piece: &Piece) -> Result<Tensor> {
        let config = &self.model.config;
        let (heads, kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        let (rows, len) = (piece.rows, piece.len);
        let (total, grouped) = (self.len + len, heads / kv_heads * len);
        let q = piece.rope(&self.linear(index, Projection::QProj, h)?, heads)?;
        let k = piece.rope(&self.linear(index, Projection::KProj, h)?, kv_heads)?;
        let v = self.linear(index, Projection::VProj, h)?.reshape((rows, len, kv_heads, head_dim))?;
        let state = &self.layers[index];
        state.keys.slice_set(&k.transpose(1, 2)?.contiguous()?, 2, self.len)?;
        state.values.slice_set(&v.transpose(1, 2)?.contiguous()?, 2, self.len)?;
        let (keys, values) = (state.keys.narrow(2, 0, total)?, state.values.narrow(2, 0, total)?);
        let q = q.transpose(1, 2)?.contiguous()?.reshape((rows, kv_heads, grouped, head_dim))?;
        let scores = (Ops::matmul(&q, &keys.t()?)? * (1.0 / (head_dim as f64).sqrt()))?;
        let weights = match &piece.mask {
            None => ops::softmax_last_dim(&scores)?,
            Some(mask) => {
                let scores = scores.reshape((rows, heads, len, total))?.broadcast_add(mask)?;
                ops::softmax_last_dim(&scores)?.reshape((rows, kv_heads, grouped, total))?
            }
        };
        let mixed = Ops::matmul(&weights, &values)?.reshape((rows, heads, len, head_dim))?;
        let joined = mixed.transpose(1, 2)?.reshape((rows * len, heads * head_dim))?;
        self.linear(index, Projection::OProj, &joined)
    }

    /// y = x Wᵀ + b + s (x Aᵀ) Bᵀ, x: `(B · S, in)`
    fn linear(&self, index: usize, which: Projection, x: &Tensor) -> Result<Tensor> {
        let adapter = self.layers[index].adapters[which as usize].as_ref();
        Ok(adapted::forward(self.model.layers[index].projection(which), adapter, x)?.0)
    }
}

impl Piece {
    /// Rotates the heads of the next tokens: `(B · S, H · d)` → `(B, S, H, d)`.
    fn rope(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let x = x.reshape((self.rows, self.len, heads, ()))?;
        Ok(rotary_emb::rope_thd(&x, &self.cos, &self.sin)?)
    }
}

impl LayerState {
    fn new(
        model: &Decoder,
        mut adapters: LayerAdapters<Tensor>,
        (rows, capacity): (usize, usize),
    ) -> Result<Self> {
        for LowRank { a, b, .. } in adapters.iter_mut().flatten() {
            (*a, *b) = (a.to_dtype(model.dtype)?, b.to_dtype(model.dtype)?);
        }
        let shape = (rows, model.config.num_kv_heads, capacity, model.config.head_dim);
        let keys = Tensor::zeros(shape, model.dtype, &model.device)?;
        let values = Tensor::zeros(shape, model.dtype, &model.device)?;
        Ok(Self { adapters, keys, values })
    }
}

/// A larger cache with the first `len` slots of every row of `cache`.
fn grown(cache: &Tensor, len: usize, capacity: usize) -> Result<Tensor> {
    let (rows, heads, _, width) = cache.dims4()?;
    let larger = Tensor::zeros((rows, heads, capacity, width), cache.dtype(), cache.device())?;
    if len > 0 {
        larger.slice_set(&cache.narrow(2, 0, len)?.contiguous()?, 2, 0)?;
    }
    Ok(larger)
}

/// RMSNorm over the last dimension, fused where Candle has the type.
fn norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    match x.dtype() {
        DType::F64 => Ok(tape::rms_norm(x, gain, eps)?),
        _ => Ok(ops::rms_norm(x, gain, eps as f32)?),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::DecoderConfig;
    use crate::model::lora::{Adapter, Layers, LoraInit, LoraLayout, LoraSpec};

    fn decoder() -> Decoder {
        let config = DecoderConfig {
            vocab_size: 50,
            hidden_size: 32,
            intermediate_size: 48,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 8,
            ..DecoderConfig::qwen2_5_0_5b()
        };
        Decoder::random_trained(&config, 7, DType::F64, DType::F64, &Device::Cpu).unwrap()
    }

    fn adapter(model: &Decoder) -> Adapter {
        let (targets, layers) = (Projection::ALL.to_vec(), Layers::All);
        let layout = LoraLayout::new(
            LoraSpec { rank: 4, alpha: 6.0, use_rslora: true, targets, layers },
            &model.config,
        );
        Adapter::new(layout, LoraInit::SmallB { std: 0.2 }, 3, DType::F64, &Device::Cpu).unwrap()
    }

    fn tokens(len: usize, seed: usize) -> Vec<u32> {
        (0..len).map(|i| ((i * i * 7 + seed * i + 11) % 50) as u32).collect()
    }

    fn read(rows: &mut Rows<'_>, tokens: &[Vec<u32>]) -> Tensor {
        rows.read(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn rows_of_any_length_have_the_logits_that_each_has_alone() {
        let (model, lengths) = (decoder(), [3, 9, 1, 600, 9]);
        let adapter = adapter(&model);
        for adapter in [None, Some(adapter.parts())] {
            // Little room, so that the caches grow on the way.
            let mut all = Rows::new(&model, adapter, lengths.len(), 1).unwrap();
            let mut alone: Vec<_> = lengths.map(|_| Rows::new(&model, adapter, 1, 1).unwrap()).into();
            for step in 0..8 {
                // Rows leave one by one: the longest, which is padded nowhere, then the last.
                let left = [(3, 3), (5, 3)].iter().find(|(at, _)| *at == step).map(|&(_, row)| row);
                if let Some(left) = left {
                    alone.remove(left);
                    let kept: Vec<_> = (0..=alone.len()).filter(|&row| row != left).collect();
                    all.keep(&kept).unwrap();
                }
                let length = |row: usize| if step == 0 { lengths[row] } else { 1 };
                let next: Vec<_> = (0..alone.len()).map(|row| tokens(length(row), row + 3 + step)).collect();
                let logits = read(&mut all, &next);
                for (row, one) in alone.iter_mut().enumerate() {
                    let expected = read(one, &next[row..=row]).squeeze(0).unwrap();
                    let difference = (logits.get(row).unwrap() - expected).unwrap().abs().unwrap();
                    let difference = difference.max(0).unwrap().to_scalar::<f64>().unwrap();
                    assert!(difference < 1e-10, "step {step}, row {row}: {difference:e}");
                }
            }
            assert_eq!(all.len(), 600 + 7);
        }
    }

    #[test]
    fn what_stands_before_a_row_cannot_be_seen() {
        let model = decoder();
        let logits = |company: usize| {
            let mut rows = Rows::new(&model, None, 2, 30).unwrap();
            read(&mut rows, &[tokens(4, 1), tokens(20, company)]);
            read(&mut rows, &[vec![3], vec![5]]).get(0).unwrap()
        };
        let same = |a: &Tensor, b: &Tensor| (a - b).unwrap().abs().unwrap().max(0).unwrap();
        assert_eq!(same(&logits(2), &logits(9)).to_scalar::<f64>().unwrap(), 0.0);
    }
}
