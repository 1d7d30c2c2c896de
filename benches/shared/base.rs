//! What benches share, most of them at Qwen2.5-0.5B shapes: the base, the adapter's form, made-up tokens, and
//! measures.

#![allow(dead_code)] // Each bench uses a part.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use perk::config::MatmulPrecision;
use perk::device::DeviceName;
use perk::gguf::TensorType;
use perk::model::lora::{Layers, LoraLayout, LoraSpec};
use perk::model::{BaseFiles, Decoder, DecoderConfig, Family, Keeping, Projection};

/// Where a bench runs, and how its frozen weights are stored.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceName,
    /// What the frozen matrices are kept in, as in model.storage: f32, bf16 or f16, and of a base that is loaded
    /// as_stored, q8_0 or q4_k; all else is f32.
    #[arg(long, default_value = "f32")]
    pub storage: String,
    /// How products with frozen weights are taken: highest, high or medium.
    #[arg(long, default_value_t)]
    pub matmul_precision: MatmulPrecision,
    /// Run once more at first, untimed: a GPU compiles its kernels then.
    #[arg(long)]
    pub warm_up: bool,
}

impl Place {
    /// The open device.
    pub fn open(&self) -> Device {
        self.device.open().unwrap_or_else(|fault| panic!("{fault}")).device
    }

    /// How the matrices are held.
    pub fn storage(&self) -> Keeping {
        match self.storage.as_str() {
            "f32" => DType::F32.into(),
            "bf16" => DType::BF16.into(),
            "f16" => DType::F16.into(),
            "as_stored" => Keeping::AsStored,
            "q8_0" => Keeping::Blocks(TensorType::Q8_0),
            "q4_k" => Keeping::Blocks(TensorType::Q4K),
            other => panic!("--storage {other} is none of f32, bf16, f16, as_stored, q8_0, q4_k"),
        }
    }

    /// The storage type of random weights.
    fn float(&self) -> DType {
        match self.storage() {
            Keeping::In(dtype) => dtype,
            _ => panic!("--storage {} is for a base that is loaded", self.storage),
        }
    }
}

/// A base of random weights with the shape of Qwen2.5-0.5B, and rank `rank` on all seven projections of every layer.
pub fn qwen(layers: usize, rank: usize, place: &Place) -> (Decoder, LoraLayout) {
    let config = DecoderConfig { num_layers: layers, ..DecoderConfig::qwen2_5_0_5b() };
    with_shape(&config, rank, place)
}

/// The shape of SmolLM2-135M (Hugging Face, 2024).
pub fn smollm2_135m() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1_536,
        num_layers: 30,
        num_heads: 9,
        num_kv_heads: 3,
        head_dim: 64,
        max_positions: 8_192,
        rms_norm_eps: 1e-5,
        rope_theta: 1e5,
        rope_scaling: None,
        tied: true,
    }
}

/// A base of random weights, rounded to bf16 as published ones are, and rank `rank` on all seven projections of every layer.
pub fn with_shape(config: &DecoderConfig, rank: usize, place: &Place) -> (Decoder, LoraLayout) {
    let decoder =
        Decoder::random(config, 7, place.float(), DType::F32, &place.open()).expect("memory for the base");
    let published = |x: &Tensor| match x.rank() {
        2 => Ok(x.to_dtype(DType::BF16)?.to_dtype(x.dtype())?),
        _ => Ok(x.clone()),
    };
    let decoder = decoder.map_weights(published).expect("memory for the base");
    with_adapter(decoder, rank, place)
}

/// The base at a path, a folder or a GGUF file, and rank `rank` on all seven projections of every layer.
pub fn loaded(path: &Path, rank: usize, place: &Place) -> (Decoder, LoraLayout) {
    let files = BaseFiles::at(path).unwrap_or_else(|fault| panic!("{fault}")).expect("a base is there");
    let decoder = files.decoder(place.storage(), DType::F32, &place.open());
    with_adapter(decoder.unwrap_or_else(|fault| panic!("{fault}")).0, rank, place)
}

fn with_adapter(decoder: Decoder, rank: usize, place: &Place) -> (Decoder, LoraLayout) {
    let decoder = decoder.packed(place.matmul_precision).expect("memory for the base");
    let spec =
        LoraSpec { rank, alpha: 16.0, rslora: true, targets: Projection::ALL.to_vec(), layers: Layers::All };
    let layout = LoraLayout::new(spec, &decoder.config);
    (decoder, layout)
}

/// Made-up token ids, below every vocabulary in use at Qwen's size.
pub fn tokens(length: usize, seed: usize) -> Vec<u32> {
    tokens_below(length, seed, 150_000)
}

/// Made-up token ids below `end`.
pub fn tokens_below(length: usize, seed: usize, end: usize) -> Vec<u32> {
    (0..length).map(|i| ((i * 7919 + seed * 104_729 + 17) % end) as u32).collect()
}

/// The middle one; of an even number the upper of the two.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Most memory that this process has held, in GB.
pub fn peak_gb() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("own usage");
    usage.max_rss() as f64 * 1024.0 / 1e9
}
