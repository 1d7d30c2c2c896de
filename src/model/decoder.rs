//! The frozen decoder: its shape and its weights.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::{Family, Joint, Projection};
use crate::autodiff::Frozen;
use crate::config::MatmulPrecision;
use crate::{Error, Result};

/// Shape of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Which family the weights are named after.
    pub family: Family,
    /// Rows of the embedding, padding rows included.
    pub vocab_size: usize,
    /// Width D of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Number of query heads.
    pub num_heads: usize,
    /// Number of key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Longest sequence that the model was made for, in tokens.
    pub max_positions: usize,
    /// ε of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Llama 3's frequency scaling, if any.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
}

/// Llama 3's rope scaling: low frequencies are divided by `factor`, with a smooth transition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeScaling {
    /// Divisor of the low frequencies.
    pub factor: f64,
    /// Wavelengths longer than `original_positions / low_freq_factor` are scaled.
    pub low_freq_factor: f64,
    /// Wavelengths shorter than `original_positions / high_freq_factor` are kept.
    pub high_freq_factor: f64,
    /// Context length before scaling, in tokens.
    pub original_positions: f64,
}

/// A frozen linear map `y = x Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// W, `(out, in)`, in the storage type.
    pub weight: Frozen,
    /// b, `(out)`, in the compute type.
    pub bias: Option<Tensor>,
}

/// Gains of the norms of one layer, as tensors or in a form made from them.
#[derive(Debug, Clone)]
pub struct Norms<G> {
    /// Before attention, `(D)`.
    pub input: G,
    /// Before the feed-forward, `(D)`.
    pub post_attention: G,
    /// Of each query head and of each key head before the rotation, `(head_dim)`; where the family has them.
    pub heads: Option<[G; 2]>,
}

impl<G> Norms<G> {
    /// The same norms in another form.
    ///
    /// # Errors
    /// Whatever `change` fails with.
    pub fn map<H>(&self, change: impl Fn(&G) -> Result<H>) -> Result<Norms<H>> {
        let heads = self.heads.as_ref().map(|[q, k]| Ok::<_, Error>([change(q)?, change(k)?])).transpose()?;
        Ok(Norms { input: change(&self.input)?, post_attention: change(&self.post_attention)?, heads })
    }
}

/// Frozen weights of one decoder layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Gains of its norms, in the compute type.
    pub norms: Norms<Tensor>,
    /// The seven projections as four linear maps, in the order of [`Joint::ALL`].
    pub linears: [Linear; 4],
}

impl Layer {
    /// The frozen weights of some projections of one input.
    pub fn linear(&self, which: Joint) -> &Linear {
        &self.linears[which as usize]
    }
}

/// A frozen decoder. Cloning shares the weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Its shape.
    pub config: DecoderConfig,
    /// Token embedding, `(V, D)`, storage type.
    pub embed_tokens: Frozen,
    /// The layers, from the input up.
    pub layers: Vec<Layer>,
    /// Gain of the last norm, `(D)`, compute type.
    pub norm: Tensor,
    /// Output matrix, `(V, D)`, storage type; the embedding itself where tied.
    pub lm_head: Frozen,
    /// Type of activations, gradients and adapters: f32, or f64 in tests.
    pub dtype: DType,
    /// Where the weights live.
    pub device: Device,
}

impl Decoder {
    /// Packs every matrix that can be, in the place of the one that was loaded, for products at `precision`: on the CPU
    /// those whose numbers bf16 holds, whatever type they are in, and at `medium` all of f32, rounded.
    ///
    /// # Errors
    /// None but what tensors refuse.
    pub fn packed(mut self, precision: MatmulPrecision) -> Result<Self> {
        self.embed_tokens = self.embed_tokens.pack(precision)?;
        self.lm_head =
            if self.config.tied { self.embed_tokens.clone() } else { self.lm_head.pack(precision)? };
        for linear in self.layers.iter_mut().flat_map(|layer| &mut layer.linears) {
            linear.weight = linear.weight.pack(precision)?.with_room()?;
        }
        Ok(self)
    }

    /// Packs for gradients what is packed, so that no step has to.
    pub fn pack_back(&self) {
        self.lm_head.pack_back();
        self.layers.iter().flat_map(|layer| &layer.linears).for_each(|linear| linear.weight.pack_back());
    }

    /// How much memory the matrices take, in bytes, packed for products both ways where they are packed.
    pub fn matrix_bytes(&self) -> usize {
        let linears = self.layers.iter().flat_map(|layer| &layer.linears);
        let head = if self.config.tied { 0 } else { self.lm_head.bytes() };
        self.embed_tokens.bytes() + head + linears.map(|linear| linear.weight.bytes()).sum::<usize>()
    }

    /// The frozen weights of one projection of layer `index`: matrix, `(out, in)`, and bias.
    ///
    /// # Errors
    /// Memory, where the matrix is packed or in blocks.
    pub fn projection(&self, index: usize, which: Projection) -> Result<(Tensor, Option<Tensor>)> {
        let Linear { weight, bias } = self.layers[index].linear(which.joint());
        let rows = self.config.rows_in_joint(which);
        let bias = bias.as_ref().map(|bias| bias.narrow(0, rows.start, rows.len())).transpose()?;
        Ok((weight.range(rows)?, bias))
    }
}

impl DecoderConfig {
    /// Which rows of the matrix that it is a part of belong to a projection.
    pub(super) fn rows_in_joint(&self, which: Projection) -> Range<usize> {
        let before = which.joint().parts().iter().take_while(|&&part| part != which);
        let start = before.map(|&part| self.projection_shape(part).0).sum();
        start..start + self.projection_shape(which).0
    }

    /// Whether each query and key head is normed before the rotation.
    pub fn has_head_norms(&self) -> bool {
        self.family.form().head_norms
    }

    /// Factor of the attention's scores, `1 / √head_dim`.
    pub(super) fn attention_scale(&self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }

    /// Shape `(out, in)` of a projection.
    pub fn projection_shape(&self, which: Projection) -> (usize, usize) {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        match which {
            Projection::QProj => (q, hidden),
            Projection::KProj | Projection::VProj => (kv, hidden),
            Projection::OProj => (hidden, q),
            Projection::GateProj | Projection::UpProj => (inner, hidden),
            Projection::DownProj => (hidden, inner),
        }
    }
}
