//! One inner step, one meta-step and one encode at named shapes, with random weights.
//!
//! `tiny`: the embedded base, a context of 2 × 40 tokens. `two-layers`: Qwen2.5-0.5B's width, two layers and
//! 8,192 words, a context of 2 × 128 tokens. For the whole of Qwen2.5-0.5B see `cost.rs`.

use std::time::Duration;

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group, criterion_main};
use perk::config::MatmulPrecision;
use perk::meta::{InnerOptimizer, InnerOptions, Learner, MetaParams, Reduction};
use perk::model::lora::{Layers, LoraLayout, LoraSpec};
use perk::model::{Activations, Decoder, DecoderConfig, Projection};
use perk::optim::AdamW;
use perk::text::Sequence;

#[path = "shared/params.rs"]
mod params;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Shape {
    name: &'static str,
    config: DecoderConfig,
    segment_tokens: usize,
}

fn shapes() -> [Shape; 2] {
    let large = DecoderConfig::qwen2_5_0_5b();
    let tiny = DecoderConfig {
        vocab_size: 170,
        hidden_size: 64,
        intermediate_size: 128,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 16,
        ..large.clone()
    };
    let two_layers = DecoderConfig { vocab_size: 8192, num_layers: 2, ..large };
    [
        Shape { name: "tiny", config: tiny, segment_tokens: 40 },
        Shape { name: "two-layers", config: two_layers, segment_tokens: 128 },
    ]
}

fn learner(shape: &Shape, steps: usize, differentiated: usize) -> Learner {
    let decoder =
        Decoder::random(&shape.config, 7, DType::F32, DType::F32, &Device::Cpu).expect("a small model fits");
    let decoder = decoder.packed(MatmulPrecision::Highest).expect("a small model fits");
    let spec = LoraSpec {
        rank: 16,
        alpha: 4.0,
        rslora: true,
        targets: Projection::ALL.to_vec(),
        layers: Layers::All,
    };
    let options = InnerOptions {
        steps,
        differentiated,
        optimizer: InnerOptimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 1e-16 }),
        weight_decay: 0.0,
        clip_norm: None,
        head: true,
        normalize_weights: false,
        reduction: Reduction::Positions,
        micro_batch_segments: 2,
        activations: Activations::Keep,
    };
    let layout = LoraLayout::new(spec, &decoder.config);
    Learner::new(decoder, layout, options).expect("settings fit")
}

fn sequence(shape: &Shape, length: usize, loss_from: usize, seed: usize) -> Sequence {
    let vocab = shape.config.vocab_size;
    let tokens = (0..length).map(|i| ((i * 7919 + seed * 104_729 + 17) % vocab) as u32).collect();
    Sequence::new(tokens, loss_from)
}

fn engine(criterion: &mut Criterion) {
    perk::memory::keep_freed_pages();
    for shape in shapes() {
        let segments: Vec<_> = (0..2).map(|seed| sequence(&shape, shape.segment_tokens, 4, seed)).collect();
        let queries = [sequence(&shape, 12, 10, 9)];
        let mut group = criterion.benchmark_group(shape.name);
        group.sample_size(20).measurement_time(Duration::from_secs(8));
        let case = |steps, differentiated| -> (Learner, MetaParams) {
            let learner = learner(&shape, steps, differentiated);
            let params = params::start(&learner, 0.01);
            (learner, params)
        };
        let (one, params) = case(1, 0);
        group.bench_function("inner step", |b| b.iter(|| one.adapt(&params, &segments).expect("runs")));
        let (four, params) = case(4, 2);
        group.bench_function("encode, N = 4", |b| b.iter(|| four.adapt(&params, &segments).expect("runs")));
        group.bench_function("meta-step, N = 4, T = 2", |b| {
            b.iter(|| four.meta_gradient(&params, &segments, &queries).expect("runs"));
        });
        group.finish();
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);
