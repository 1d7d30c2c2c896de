//! What the benches at Qwen2.5-0.5B shapes share: the base, the adapter's form, made-up tokens, and measures.

#![allow(dead_code)] // Each bench uses a part.

use candle_core::{DType, Device};
use perk::lora::{Layers, LoraLayout, LoraSpec};
use perk::model::{Decoder, DecoderConfig, Projection};

/// A base of random weights in f32, and rank `rank` on all seven projections of every layer.
pub fn base(layers: usize, rank: usize) -> (Decoder, LoraLayout) {
    let config = DecoderConfig { num_layers: layers, ..DecoderConfig::qwen2_5_0_5b() };
    let decoder =
        Decoder::random(&config, 7, DType::F32, DType::F32, &Device::Cpu).expect("memory for the base");
    let spec = LoraSpec {
        rank,
        alpha: 16.0,
        use_rslora: true,
        targets: Projection::ALL.to_vec(),
        layers: Layers::All,
    };
    let layout = LoraLayout::new(spec, &decoder.config);
    (decoder, layout)
}

/// Made-up token ids, below every vocabulary in use.
pub fn tokens(length: usize, seed: usize) -> Vec<u32> {
    (0..length).map(|i| ((i * 7919 + seed * 104_729 + 17) % 150_000) as u32).collect()
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
