//! Rows of tokens that are read side by side: their cache, their padding and their masks.
//!
//! Rows of different lengths are padded on the left, so that all of them write the same slot of the cache and end
//! in the same column. A row counts its positions from its own first token, and no token of a row reads a pad:
//! the padding does not change what a row means. Pads read pads, so that their numbers stay finite.

use candle_core::Tensor;

use super::cache::{Cache, Form, OverCache, Piece, norm};
use crate::Result;
use crate::autodiff::{Ops, Stored, attends_next};
use crate::device::among_threads;
use crate::model::Decoder;
use crate::model::block::Block;
use crate::model::lora::{AdapterRef, LayerAdapters, adapters_of};
use crate::model::rotary::RotaryTables;

/// Most tokens that are read at once, of all rows together: bounds the attention scores that are held.
const PREFILL_TOKENS: usize = 512;

/// Stands in a row before its first token; every vocabulary has it.
const PAD: u32 = 0;

/// A decoder that reads rows of tokens side by side and remembers them.
pub(super) struct Rows<'a> {
    model: &'a Decoder,
    /// Of each layer, in the compute type.
    adapters: Vec<LayerAdapters<Tensor>>,
    /// Of each layer.
    caches: Vec<Cache>,
    /// Tables of the rotation for every slot of the cache.
    rotary: RotaryTables,
    /// Slots of the cache in each row.
    capacity: usize,
    /// Slots in use, the same in every row.
    len: usize,
    /// How many of them are pads, at the left edge; one number a row.
    pads: Vec<usize>,
    /// The same, `(rows)` u32.
    pads_on_device: Tensor,
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
        let mut adapters = adapters_of(&model.config, adapter)?;
        for low in adapters.iter_mut().flatten().flatten() {
            // Joined once, and not at every token.
            low.a = vec![low.joint_a()?.to_dtype(model.dtype)?];
            low.b.iter_mut().try_for_each(|up| up.b.to_dtype(model.dtype).map(|b| up.b = b))?;
        }
        let caches = model.layers.iter().map(|_| Cache::new(model, rows, capacity));
        let caches = caches.collect::<Result<Vec<_>>>()?;
        let rotary = RotaryTables::new(&model.config, capacity, model.dtype, &model.device)?;
        let pads = vec![0; rows];
        let pads_on_device = on_device(&pads, model)?;
        Ok(Self { model, adapters, caches, rotary, capacity, len: 0, pads, pads_on_device })
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
        self.caches.iter_mut().try_for_each(|cache| cache.keep(&ids))?;
        self.set_pads(rows.iter().map(|&row| self.pads[row]).collect())
    }

    fn set_pads(&mut self, pads: Vec<usize>) -> Result<()> {
        self.pads_on_device = on_device(&pads, self.model)?;
        self.pads = pads;
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
        let device = self.model.device.clone();
        among_threads(&device, || self.read_here(tokens))
    }

    fn read_here(&mut self, tokens: &[&[u32]]) -> Result<Tensor> {
        let width = tokens.iter().map(|row| row.len()).max().unwrap_or(0);
        if self.len == 0 {
            self.set_pads(tokens.iter().map(|row| width - row.len()).collect())?;
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
        Ops::affine(&last, &self.model.lm_head, None, None, Stored::Whole)
    }

    /// Makes room for `needed` tokens a row in all.
    fn reserve(&mut self, needed: usize) -> Result<()> {
        if needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed.max(2 * self.capacity);
        self.caches.iter_mut().try_for_each(|cache| cache.grow(self.len, capacity))?;
        let model = self.model;
        self.rotary = RotaryTables::new(&model.config, capacity, model.dtype, &model.device)?;
        self.capacity = capacity;
        Ok(())
    }

    /// Reads the next `len` tokens of every row, `(B · S)`; returns the hidden states of each row's last after the
    /// last norm, `(B, D)`.
    fn forward(&mut self, tokens: &[u32], len: usize) -> Result<Tensor> {
        let (model, piece) = (self.model, self.piece(len)?);
        let ids = Tensor::new(tokens, &model.device)?;
        let mut x = model.embed_tokens.rows(&ids, model.dtype)?;
        for ((layer, adapters), cache) in model.layers.iter().zip(&self.adapters).zip(&self.caches) {
            let mode = OverCache { config: &model.config, piece: &piece, cache };
            x = Block { layer, gains: &layer.norms, adapters, mode }.forward(&x)?.0;
        }
        self.len += len;
        let last = x.reshape((piece.rows, len, ()))?.narrow(1, len - 1, 1)?.squeeze(1)?;
        norm(&last.contiguous()?, &model.norm, model.config.rms_norm_eps)
    }

    /// What the layers need to know of the next `len` tokens of every row.
    fn piece(&self, len: usize) -> Result<Piece> {
        let (rows, read, model) = (self.pads.len(), self.len, self.model);
        let piece = |form| Piece { rows, len, read, form };
        if len == 1 && attends_next(&model.device, model.dtype, model.config.head_dim) {
            let pads = self.pads_on_device.clone();
            return Ok(piece(Form::Next { rotary: self.rotary.clone(), pads }));
        }
        let mask = self.mask(len)?;
        let piece = |rotary| piece(Form::Composed { rotary, mask });
        let RotaryTables { cos, sin } = &self.rotary;
        if self.pads.iter().all(|&pads| pads == 0) {
            let here = |table: &Tensor| table.narrow(0, read, len);
            return Ok(piece(RotaryTables { cos: here(cos)?, sin: here(sin)? }));
        }
        // A pad's position means nothing.
        let position = |slot: usize, pads: usize| slot.saturating_sub(pads) as u32;
        let slots = read..read + len;
        let positions =
            self.pads.iter().flat_map(|&pads| slots.clone().map(move |slot| position(slot, pads)));
        let positions = Tensor::new(positions.collect::<Vec<_>>(), &self.model.device)?;
        let here = |table: &Tensor| table.index_select(&positions, 0)?.reshape((rows, len, ()));
        Ok(piece(RotaryTables { cos: here(cos)?, sin: here(sin)? }))
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
}

fn on_device(pads: &[usize], model: &Decoder) -> Result<Tensor> {
    let pads: Vec<u32> = pads.iter().map(|&pads| pads as u32).collect();
    Ok(Tensor::new(pads, &model.device)?)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::autodiff::launches;
    use crate::device::under_test;
    use crate::model::lora::{Adapter, Layers, LoraInit, LoraLayout, LoraSpec};
    use crate::model::{DecoderConfig, Family, Projection};

    fn config() -> DecoderConfig {
        DecoderConfig {
            vocab_size: 50,
            hidden_size: 32,
            intermediate_size: 48,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 8,
            ..DecoderConfig::qwen2_5_0_5b()
        }
    }

    fn random(config: &DecoderConfig, dtype: DType) -> Decoder {
        Decoder::random_trained(config, 7, dtype, dtype, &under_test()).unwrap()
    }

    fn decoder() -> Decoder {
        random(&config(), DType::F64)
    }

    fn adapter(model: &Decoder) -> Adapter {
        let (targets, layers) = (Projection::ALL.to_vec(), Layers::All);
        let layout =
            LoraLayout::new(LoraSpec { rank: 4, alpha: 6.0, rslora: true, targets, layers }, &model.config);
        Adapter::new(layout, LoraInit::SmallB { std: 0.2 }, 3, model.dtype, &under_test()).unwrap()
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

    /// What a kernel of the device reads one by one is what Candle's operations read at once.
    #[test]
    fn tokens_that_are_read_one_by_one_have_the_logits_of_those_read_at_once() {
        for (family, head_dim, dtype, tolerance) in [
            (Family::Qwen2, 8, DType::F64, 1e-10),
            (Family::Qwen2, 6, DType::F32, 1e-3),
            (Family::Qwen3, 2, DType::F64, 1e-10),
            (Family::Qwen3, 14, DType::F64, 1e-10),
            (Family::Qwen3, 32, DType::F32, 1e-3),
        ] {
            let model = random(&DecoderConfig { family, head_dim, ..config() }, dtype);
            let adapter = adapter(&model);
            let read_all = |tokens: &[Vec<u32>], once: bool| {
                let mut rows = Rows::new(&model, Some(adapter.parts()), tokens.len(), 4).unwrap();
                if once {
                    return read(&mut rows, tokens);
                }
                let (later, mut next) = (11, tokens.to_vec());
                next.iter_mut().for_each(|row| row.truncate(row.len() - later));
                let mut logits = read(&mut rows, &next);
                for left in (0..later).rev() {
                    let next: Vec<_> = tokens.iter().map(|row| vec![row[row.len() - 1 - left]]).collect();
                    logits = read(&mut rows, &next);
                }
                logits
            };
            let tokens = [tokens(12, 1), tokens(20, 2), tokens(13, 3)];
            let difference = (read_all(&tokens, false) - read_all(&tokens, true)).unwrap().abs().unwrap();
            let difference = difference.flatten_all().unwrap().max(0).unwrap().to_dtype(DType::F64).unwrap();
            let difference = difference.to_scalar::<f64>().unwrap();
            assert!(difference < tolerance, "{family:?}, heads of {head_dim}, {dtype:?}: {difference:e}");
        }
    }

    #[test]
    fn a_layer_reads_a_token_in_fourteen_launches() {
        if !attends_next(&under_test(), DType::F64, config().head_dim) {
            // Nothing is launched without kernels for a card.
            return;
        }
        let of_layers = |num_layers: usize| {
            let model = random(&DecoderConfig { num_layers, ..config() }, DType::F64);
            let adapter = adapter(&model);
            let mut rows = Rows::new(&model, Some(adapter.parts()), 1, 4).unwrap();
            read(&mut rows, &[tokens(3, 1)]);
            let before = launches();
            read(&mut rows, &[vec![7]]);
            launches() - before
        };
        // Launches are counted by the thread.
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let [two, three] = alone.install(|| [of_layers(2), of_layers(3)]);
        assert_eq!((three - two, two - 2 * 14), (14, 2));
    }
}
