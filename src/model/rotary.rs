//! Rotary positions (RoPE, Su et al. 2021): frequencies, and tables of cosines and sines as tensors.

use candle_core::{DType, Device, Tensor};

use super::{DecoderConfig, RopeScaling};
use crate::Result;

/// Cosines and sines of the angles of positions 0, 1, …, `(positions, head_dim / 2)` each; clones share them.
#[derive(Debug, Clone)]
pub(super) struct RotaryTables {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl RotaryTables {
    /// Tables for `positions` positions; angles are computed in f64 and rounded once.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn new(config: &DecoderConfig, positions: usize, dtype: DType, device: &Device) -> Result<Self> {
        let frequencies = config.rope_frequencies();
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (cos, sin): (Vec<f64>, Vec<f64>) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        let table = |values: Vec<f64>| -> Result<Tensor> {
            let values = Tensor::from_vec(values, (positions, frequencies.len()), &Device::Cpu)?;
            // Rounded on the CPU: not every device has f64.
            Ok(values.to_dtype(dtype)?.to_device(device)?)
        };
        Ok(Self { cos: table(cos)?, sin: table(sin)? })
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
