//! The start of an adapter.

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{Adapter, LoraLayout};
use crate::Result;

/// How the tensors of a new adapter are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// As PEFT: A Kaiming-uniform with a = √5, that is ±1/√in; B zero, so that the adapter starts as the
    /// identity.
    Peft,
    /// As [`LoraInit::Peft`], but B normal: A gets a gradient from the first step on.
    SmallB {
        /// Standard deviation of B.
        std: f64,
    },
}

impl Adapter {
    /// A new adapter: a pure function of `layout`, `init` and `seed`; other types round the same numbers.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn new(layout: LoraLayout, init: LoraInit, seed: u64, dtype: DType, device: &Device) -> Result<Self> {
        let tensors = (0..layout.num_tensors())
            .map(|index| {
                let (rows, columns) = layout.shape(index);
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(index as u64);
                let values = if index.is_multiple_of(2) {
                    uniform(rows * columns, 1.0 / (columns as f64).sqrt(), &mut rng)
                } else {
                    b_values(rows * columns, init, &mut rng)
                };
                Ok(Tensor::from_vec(values, (rows, columns), device)?.to_dtype(dtype)?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { layout, tensors })
    }
}

fn uniform(len: usize, bound: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32).collect()
}

fn b_values(len: usize, init: LoraInit, rng: &mut ChaCha8Rng) -> Vec<f32> {
    match init {
        LoraInit::Peft => vec![0.0; len],
        LoraInit::SmallB { std } => (0..len)
            .map(|_| {
                let unit: f64 = StandardNormal.sample(rng);
                (unit * std) as f32
            })
            .collect(),
    }
}
