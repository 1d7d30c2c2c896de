//! What is remembered of the tokens that were read, and how a layer reads on from it.

use candle_core::{D, DType, Tensor};
use candle_nn::{ops, rotary_emb};

use crate::Result;
use crate::autodiff::{NextToken, Ops, Stored, attend_next, norm_rows};
use crate::config::MatmulPrecision;
use crate::model::block::Mode;
use crate::model::rotary::RotaryTables;
use crate::model::{Decoder, DecoderConfig};

/// Keys and values of one layer, `(rows, kv_heads, capacity, head_dim)` each. They are written in place: no clone of these
/// tensors outlives a call here.
pub(super) struct Cache {
    keys: Tensor,
    values: Tensor,
}

impl Cache {
    /// Room for `capacity` tokens in each of `rows` rows.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn new(model: &Decoder, rows: usize, capacity: usize) -> Result<Self> {
        let shape = (rows, model.config.num_kv_heads, capacity, model.config.head_dim);
        let zeros = || Tensor::zeros(shape, model.dtype, &model.device);
        Ok(Self { keys: zeros()?, values: zeros()? })
    }

    /// Goes on with the rows of these numbers alone, `(rows)` u32.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn keep(&mut self, rows: &Tensor) -> Result<()> {
        self.keys = self.keys.index_select(rows, 0)?;
        self.values = self.values.index_select(rows, 0)?;
        Ok(())
    }

    /// Makes room for `capacity` tokens a row, of which `len` are in use.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn grow(&mut self, len: usize, capacity: usize) -> Result<()> {
        self.keys = grown(&self.keys, len, capacity)?;
        self.values = grown(&self.values, len, capacity)?;
        Ok(())
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

/// What the layers share while the next S tokens of B rows are read.
pub(super) struct Piece {
    pub rows: usize,
    pub len: usize,
    /// Slots of the cache that are in use before it.
    pub read: usize,
    pub form: Form,
}

/// How the attention over the cache is computed.
pub(super) enum Form {
    /// Of one token a row, by a kernel of the device.
    Next {
        /// Tables of the rotation for every slot of the cache.
        rotary: RotaryTables,
        /// Pads before each row, `(rows)` u32.
        pads: Tensor,
    },
    /// Of any tokens, by Candle's operations.
    Composed {
        /// Tables of the rotation, `(S, head_dim / 2)` or, where the rows' positions differ, `(B, S, head_dim / 2)`.
        rotary: RotaryTables,
        /// Added to the scores, `(1 or B, 1, S, read + S)`; none where every query may read every key.
        mask: Option<Tensor>,
    },
}

/// A layer reads the next tokens of every row after those in its cache, with kernels of the device or Candle's fused
/// operations.
pub(super) struct OverCache<'a> {
    pub config: &'a DecoderConfig,
    pub piece: &'a Piece,
    pub cache: &'a Cache,
}

impl OverCache<'_> {
    /// Heads of the next tokens, turned: `(B, S, heads, width)` → `(B, heads, S, width)`.
    fn turned(x: &Tensor, RotaryTables { cos, sin }: &RotaryTables) -> Result<Tensor> {
        Ok(rotary_emb::rope_thd(x, cos, sin)?.transpose(1, 2)?.contiguous()?)
    }

    /// The query heads that share a key head are rows of one product.
    fn composed(
        &self,
        qkv: &Tensor,
        gains: Option<&[Tensor; 2]>,
        (rotary, mask): (&RotaryTables, Option<&Tensor>),
    ) -> Result<Tensor> {
        let (config, Piece { rows, len, read, .. }) = (self.config, self.piece);
        let (heads, kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        let (rows, len, total, grouped) = (*rows, *len, read + len, heads / kv_heads * len);
        let all = qkv.reshape((rows, len, heads + 2 * kv_heads, head_dim))?;
        let part = |first, count| all.narrow(2, first, count)?.contiguous();
        let (mut q, mut k) = (part(0, heads)?, part(heads, kv_heads)?);
        if let Some([of_q, of_k]) = gains {
            (q, k) = (self.norm(&q, of_q)?, self.norm(&k, of_k)?);
        }
        let v = all.narrow(2, heads + kv_heads, kv_heads)?.transpose(1, 2)?.contiguous()?;
        self.cache.keys.slice_set(&Self::turned(&k, rotary)?, 2, *read)?;
        self.cache.values.slice_set(&v, 2, *read)?;
        let (keys, values) = (self.cache.keys.narrow(2, 0, total)?, self.cache.values.narrow(2, 0, total)?);
        let q = Self::turned(&q, rotary)?.reshape((rows, kv_heads, grouped, head_dim))?;
        let scores = (Ops::matmul(&q, &keys.t()?, MatmulPrecision::Highest)? * config.attention_scale())?;
        let weights = match mask {
            None => ops::softmax_last_dim(&scores)?,
            Some(mask) => {
                let scores = scores.reshape((rows, heads, len, total))?.broadcast_add(mask)?;
                ops::softmax_last_dim(&scores)?.reshape((rows, kv_heads, grouped, total))?
            }
        };
        let mixed = Ops::matmul(&weights, &values, MatmulPrecision::Highest)?
            .reshape((rows, heads, len, head_dim))?;
        Ok(mixed.transpose(1, 2)?.reshape((rows * len, heads * head_dim))?)
    }
}

impl Mode<Tensor> for OverCache<'_> {
    type Gain = Tensor;
    type Residuals = ();

    fn norm(&self, x: &Tensor, gain: &Tensor) -> Result<Tensor> {
        let rows = x.reshape(((), gain.dim(0)?))?;
        Ok(norm(&rows, gain, self.config.rms_norm_eps)?.reshape(x.shape())?)
    }

    fn stored(&self) -> Stored {
        Stored::Whole
    }

    fn attend(&self, qkv: &Tensor, gains: Option<&[Tensor; 2]>) -> Result<(Tensor, ())> {
        let (rotary, pads) = match &self.piece.form {
            Form::Next { rotary, pads } => (rotary, pads),
            Form::Composed { rotary, mask } => {
                return Ok((self.composed(qkv, gains, (rotary, mask.as_ref()))?, ()));
            }
        };
        let next = NextToken {
            keys: &self.cache.keys,
            values: &self.cache.values,
            slot: self.piece.read,
            pads,
            rotary: [&rotary.cos, &rotary.sin],
            norms: gains.map(|gains| (gains, self.config.rms_norm_eps)),
            scale: self.config.attention_scale(),
        };
        Ok((attend_next(qkv, &next)?, ()))
    }
}

/// RMSNorm over the last dimension, in one piece where the device has a kernel or Candle has the type.
///
/// # Errors
/// A device out of memory.
pub(super) fn norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    if let Some(normed) = norm_rows(x, gain, eps)? {
        return Ok(normed);
    }
    match x.dtype() {
        DType::F64 => {
            let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
            Ok(x.broadcast_div(&scale)?.broadcast_mul(gain)?)
        }
        _ => Ok(ops::rms_norm(x, gain, eps as f32)?),
    }
}
