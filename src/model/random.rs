//! Decoders with random weights: the start of pretraining, and the shapes of benches and tests.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::weight_list::{Role, WeightSpec};
use super::{Decoder, DecoderConfig, Family, Projection};
use crate::autodiff::Frozen;
use crate::{Error, Result};

/// Numbers drawn from one stream; fixed, so that the threads do not change the values.
const CHUNK: usize = 1 << 15;

impl DecoderConfig {
    /// The shape of Qwen2.5-0.5B (Qwen Team, 2024): 494 million parameters.
    pub fn qwen2_5_0_5b() -> Self {
        Self {
            family: Family::Qwen2,
            vocab_size: 151_936,
            hidden_size: 896,
            intermediate_size: 4_864,
            num_layers: 24,
            num_heads: 14,
            num_kv_heads: 2,
            head_dim: 64,
            max_positions: 32_768,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            rope_scaling: None,
            tied: true,
        }
    }
}

impl Decoder {
    /// A decoder at the start of its training: matrices normal with standard deviation 1/√in, `o_proj` and
    /// `down_proj` divided by √(2 · layers), embeddings 1/√hidden, gains one, biases zero.
    ///
    /// A pure function of `config` and `seed`: every type and device holds the same numbers, rounded.
    ///
    /// # Errors
    /// An impossible shape, or a device out of memory.
    pub fn random(
        config: &DecoderConfig,
        seed: u64,
        storage: DType,
        compute: DType,
        device: &Device,
    ) -> Result<Self> {
        Draw { seed, storage, compute, device, spread: 0.0, tensors: 0 }.decoder(config)
    }

    /// As [`Decoder::random`], with gains around one and biases around zero (standard deviation 0.2), so
    /// that a test sees every weight take part.
    ///
    /// # Errors
    /// As [`Decoder::random`].
    pub fn random_trained(
        config: &DecoderConfig,
        seed: u64,
        storage: DType,
        compute: DType,
        device: &Device,
    ) -> Result<Self> {
        Draw { seed, storage, compute, device, spread: 0.2, tensors: 0 }.decoder(config)
    }
}

/// Draws tensors in the order of the model, each from streams of its own.
struct Draw<'a> {
    seed: u64,
    storage: DType,
    compute: DType,
    device: &'a Device,
    /// Standard deviation of gains and biases.
    spread: f32,
    tensors: u64,
}

impl Draw<'_> {
    fn decoder(mut self, config: &DecoderConfig) -> Result<Decoder> {
        config.check().map_err(|reason| Error::Invalid(format!("decoder shape: {reason}")))?;
        let (compute, device) = (self.compute, self.device);
        Decoder::build(config.clone(), compute, device, |spec| {
            self.weight(spec, config.num_layers).map(Frozen::from)
        })
    }

    fn weight(&mut self, spec: &WeightSpec, num_layers: usize) -> Result<Tensor> {
        let narrow = || 1.0 / (spec.shape[1] as f32).sqrt();
        let (mean, std) = match spec.role {
            Role::Matrix(Projection::OProj | Projection::DownProj) => {
                (0.0, narrow() / (2.0 * num_layers as f32).sqrt())
            }
            Role::Table | Role::Matrix(_) => (0.0, narrow()),
            Role::Bias => (0.0, self.spread),
            Role::Gain => (1.0, self.spread),
        };
        let values = self.normal(spec.count(), mean, std);
        let tensor = Tensor::from_vec(values, spec.shape.as_slice(), self.device)?;
        Ok(tensor.to_dtype(spec.dtype(self.storage, self.compute))?)
    }

    fn normal(&mut self, len: usize, mean: f32, std: f32) -> Vec<f32> {
        let (seed, tensor) = (self.seed, self.tensors);
        self.tensors += 1;
        let mut values = vec![mean; len];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(tensor << 32 | chunk as u64);
            for value in values {
                let unit: f32 = StandardNormal.sample(&mut rng);
                *value += std * unit;
            }
        });
        values
    }
}
