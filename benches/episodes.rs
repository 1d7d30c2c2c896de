//! Seconds an episode of a meta-step over short episodes, as real models are meta-trained on: one after another, a thread
//! each, and together in one pass.
//!
//! `cargo bench --bench episodes` prints the table; `-- --threads 2 --together 4` one row of it. The base has random
//! weights and the shape of SmolLM2-135M, or of Qwen2.5-0.5B. Every row runs in a process of its own.

use std::process::Command;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use perk::meta::{InnerOptimizer, InnerOptions, Learner, MetaParams, Reduction, Workers};
use perk::model::{Activations, DecoderConfig};
use perk::optim::AdamW;
use perk::text::Sequence;

#[path = "shared/base.rs"]
mod base;
#[path = "shared/params.rs"]
mod params;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    #[value(name = "smollm2-135m")]
    SmolLm2,
    #[value(name = "qwen2.5-0.5b")]
    Qwen,
}

#[derive(Parser)]
struct Arguments {
    /// Shape of the base.
    #[arg(long, default_value = "smollm2-135m")]
    model: Shape,
    /// Layers of the base, if not all of them.
    #[arg(long)]
    layers: Option<usize>,
    /// Episodes of the step.
    #[arg(long, default_value_t = 8)]
    episodes: usize,
    /// Context tokens of an episode, about.
    #[arg(long, default_value_t = 131)]
    tokens: usize,
    /// Longest segment.
    #[arg(long, default_value_t = 48)]
    segment: usize,
    /// Threads, each with episodes of its own; without it and `--together` the whole table is run.
    #[arg(long)]
    threads: Option<usize>,
    /// Episodes that a thread takes together.
    #[arg(long)]
    together: Option<usize>,
    /// Differentiated inner steps T.
    #[arg(long, default_value_t = 2)]
    differentiated: usize,
    /// Inner steps N.
    #[arg(long, default_value_t = 4)]
    steps: usize,
    /// LoRA rank, on all seven projections.
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Segments of an episode in one pass.
    #[arg(long, default_value_t = 4)]
    micro_batch: usize,
    /// Times to repeat; the median is printed.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    #[command(flatten)]
    place: base::Place,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    perk::memory::keep_freed_pages();
    let arguments = Arguments::parse();
    println!("{:>7} {:>8} {:>10} {:>9}", "threads", "together", "s/episode", "peak GB");
    match (arguments.threads, arguments.together) {
        (None, None) => table(),
        (threads, together) => row(&arguments, threads.unwrap_or(1), together.unwrap_or(1)),
    }
}

fn table() {
    let own = std::env::current_exe().expect("a running program has a path");
    for (threads, together) in [(1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 2), (2, 4)] {
        let given = std::env::args().skip(1);
        let row =
            ["--threads".to_owned(), threads.to_string(), "--together".to_owned(), together.to_string()];
        let output = Command::new(&own).args(given).args(row).output().expect("the bench starts itself");
        match String::from_utf8_lossy(&output.stdout).lines().nth(1) {
            Some(line) => println!("{line}"),
            None => {
                println!("{threads:>7} {together:>8} failed: {}", String::from_utf8_lossy(&output.stderr))
            }
        }
    }
}

fn row(arguments: &Arguments, threads: usize, together: usize) {
    let learner = learner(arguments);
    let params = params::start(&learner, 5e-5);
    let (contexts, queries): (Vec<_>, Vec<_>) =
        (0..arguments.episodes).map(|e| episode(arguments, e)).unzip();
    let workers = Workers::new(threads).expect("threads");
    let once = || {
        let start = Instant::now();
        let groups: Vec<usize> = (0..arguments.episodes).step_by(together).collect();
        let group = |&first: &usize| {
            let own = first..arguments.episodes.min(first + together);
            meta_step(&learner, &params, &contexts[own.clone()], &queries[own])
        };
        workers.map(&groups, group).expect("runs");
        learner.backbone.decoder.device.synchronize().expect("the device works");
        start.elapsed().as_secs_f64() / arguments.episodes as f64
    };
    if arguments.place.warm_up {
        once();
    }
    let seconds: Vec<f64> = (0..arguments.repeat).map(|_| once()).collect();
    println!("{threads:>7} {together:>8} {:>10.3} {:>9.2}", base::median(seconds), base::peak_gb());
}

fn meta_step(
    learner: &Learner,
    params: &MetaParams,
    contexts: &[Vec<Sequence>],
    queries: &[Vec<Sequence>],
) -> perk::Result<()> {
    let contexts: Vec<_> = contexts.iter().map(Vec::as_slice).collect();
    let queries: Vec<_> = queries.iter().map(Vec::as_slice).collect();
    learner.meta_gradients(params, &contexts, &queries).map(drop)
}

/// A context of segments as sentences fill them, and its question.
fn episode(arguments: &Arguments, seed: usize) -> (Vec<Sequence>, Vec<Sequence>) {
    let sequence =
        |length, loss_from, seed| Sequence::new(base::tokens_below(length, seed, 49_000), loss_from);
    let (mut segments, mut left) = (vec![], arguments.tokens);
    while left > 1 {
        let length =
            left.min(arguments.segment - (seed * 7 + segments.len() * 5) % (arguments.segment / 4).max(1));
        segments.push(sequence(length, 4.min(length - 1), seed * 100 + segments.len()));
        left -= length;
    }
    (segments, vec![sequence(24, 20, seed * 100 + 99)])
}

fn learner(arguments: &Arguments) -> Learner {
    let shape = match arguments.model {
        Shape::SmolLm2 => base::smollm2_135m(),
        Shape::Qwen => DecoderConfig::qwen2_5_0_5b(),
    };
    let shape = DecoderConfig { num_layers: arguments.layers.unwrap_or(shape.num_layers), ..shape };
    let (decoder, layout) = base::with_shape(&shape, arguments.rank, &arguments.place);
    let options = InnerOptions {
        steps: arguments.steps,
        differentiated: arguments.differentiated,
        optimizer: InnerOptimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 0.0 }),
        weight_decay: 0.01,
        clip_norm: None,
        head: true,
        normalize_weights: false,
        reduction: Reduction::Positions,
        micro_batch_segments: arguments.micro_batch,
        activations: Activations::Keep,
    };
    Learner::new(decoder, layout, options).expect("settings fit")
}
