//! The frozen decoder: its shape and its weights.

use candle_core::{DType, Device, Tensor};

use super::{Family, Projection};

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
    pub weight: Tensor,
    /// b, `(out)`, in the compute type.
    pub bias: Option<Tensor>,
}

/// Frozen weights of one decoder layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Gain of the norm before attention, `(D)`, compute type.
    pub input_norm: Tensor,
    /// Gain of the norm before the feed-forward, `(D)`, compute type.
    pub post_attention_norm: Tensor,
    /// The seven projections, in the order of [`Projection::ALL`].
    pub projections: [Linear; 7],
}

impl Layer {
    /// The frozen weights of one projection.
    pub fn projection(&self, which: Projection) -> &Linear {
        &self.projections[which as usize]
    }
}

/// A frozen decoder. Cloning shares the weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Its shape.
    pub config: DecoderConfig,
    /// Token embedding, `(V, D)`, storage type.
    pub embed_tokens: Tensor,
    /// The layers, from the input up.
    pub layers: Vec<Layer>,
    /// Gain of the last norm, `(D)`, compute type.
    pub norm: Tensor,
    /// Output matrix, `(V, D)`, storage type; the embedding itself where tied.
    pub lm_head: Tensor,
    /// Type of activations, gradients and adapters: f32, or f64 in tests.
    pub dtype: DType,
    /// Where the weights live.
    pub device: Device,
}

impl DecoderConfig {
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

impl DecoderConfig {
    /// Rotary frequencies in radians a position, `head_dim / 2` of them, Llama 3's scaling applied.
    pub fn rope_frequencies(&self) -> Vec<f64> {
        let half = self.head_dim / 2;
        let plain = (0..half).map(|i| self.rope_theta.powf(-(i as f64) / half as f64));
        plain.map(|frequency| self.rope_scaling.map_or(frequency, |s| s.apply(frequency))).collect()
    }
}

impl RopeScaling {
    /// Scales one frequency: kept if its wavelength is short, divided if long, blended in between.
    fn apply(&self, frequency: f64) -> f64 {
        let wavelength = 2.0 * std::f64::consts::PI / frequency;
        let turns = self.original_positions / wavelength;
        let kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        let kept = kept.clamp(0.0, 1.0);
        kept * frequency + (1.0 - kept) * frequency / self.factor
    }
}
