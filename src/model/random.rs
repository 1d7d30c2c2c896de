//! Decoders with random weights: the start of pretraining, and the shapes of benches and tests.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::weights::has_bias;
use super::{Decoder, DecoderConfig, Family, Layer, Linear, Projection};
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
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let std = 1.0 / (hidden as f32).sqrt();
        let embed_tokens = self.matrix((vocab, hidden), std)?;
        let layers = (0..config.num_layers).map(|_| self.layer(config)).collect::<Result<Vec<_>>>()?;
        let norm = self.vector(hidden, 1.0)?;
        let lm_head = if config.tied { embed_tokens.clone() } else { self.matrix((vocab, hidden), std)? };
        let (dtype, device) = (self.compute, self.device.clone());
        Ok(Decoder { config: config.clone(), embed_tokens, layers, norm, lm_head, dtype, device })
    }

    fn layer(&mut self, config: &DecoderConfig) -> Result<Layer> {
        let residual = (2.0 * config.num_layers as f32).sqrt();
        let input_norm = self.vector(config.hidden_size, 1.0)?;
        let post_attention_norm = self.vector(config.hidden_size, 1.0)?;
        let mut projections = Vec::with_capacity(Projection::ALL.len());
        for which in Projection::ALL {
            let (rows, columns) = config.projection_shape(which);
            let ends_branch = matches!(which, Projection::OProj | Projection::DownProj);
            let std = 1.0 / (columns as f32).sqrt() / if ends_branch { residual } else { 1.0 };
            let weight = self.matrix((rows, columns), std)?;
            let bias = match has_bias(config.family, which) {
                true => Some(self.vector(rows, 0.0)?),
                false => None,
            };
            projections.push(Linear { weight, bias });
        }
        let projections = projections.try_into().expect("one linear map was pushed for each of the seven");
        Ok(Layer { input_norm, post_attention_norm, projections })
    }

    fn matrix(&mut self, shape: (usize, usize), std: f32) -> Result<Tensor> {
        let values = self.normal(shape.0 * shape.1, 0.0, std);
        Ok(Tensor::from_vec(values, shape, self.device)?.to_dtype(self.storage)?)
    }

    fn vector(&mut self, len: usize, mean: f32) -> Result<Tensor> {
        let values = self.normal(len, mean, self.spread);
        Ok(Tensor::from_vec(values, len, self.device)?.to_dtype(self.compute)?)
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
