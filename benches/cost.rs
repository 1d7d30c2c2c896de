//! Time and peak memory of one meta-step, or of one encode, at the shape of Qwen2.5-0.5B or SmolLM2-135M with random
//! weights, or of a base that `--base` names.
//!
//! `cargo bench --bench cost` runs the table; `-- --tokens 512 --differentiated 2` runs one row; `--encode`
//! times the inner loop alone; `--episodes 8` takes eight contexts together. Every row runs in a process of its own, so
//! that its peak is its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use perk::meta::{InnerOptimizer, InnerOptions, Learner, MetaParams, Reduction};
use perk::model::{Activations, DecoderConfig};
use perk::optim::AdamW;
use perk::text::Sequence;

#[path = "shared/base.rs"]
mod base;
#[path = "shared/params.rs"]
mod params;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Most context tokens of an episode in the untimed run: enough for every kernel to be loaded and for the pool of memory
/// to be filled, however long the context.
const WARM_UP_TOKENS: usize = 8192;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    #[value(name = "qwen2.5-0.5b")]
    Qwen,
    #[value(name = "smollm2-135m")]
    SmolLm2,
}

impl Shape {
    fn config(self) -> DecoderConfig {
        match self {
            Self::Qwen => DecoderConfig::qwen2_5_0_5b(),
            Self::SmolLm2 => base::smollm2_135m(),
        }
    }
}

#[derive(Parser)]
struct Arguments {
    /// Context tokens of an episode; without it the whole table is run.
    #[arg(long)]
    tokens: Option<usize>,
    /// Episodes, taken together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    episodes: u32,
    /// Shape of the random weights.
    #[arg(long, default_value = "qwen2.5-0.5b")]
    shape: Shape,
    /// A folder or a GGUF file, in the place of random weights.
    #[arg(long)]
    base: Option<PathBuf>,
    /// Differentiated inner steps T.
    #[arg(long, default_value_t = 2)]
    differentiated: usize,
    /// Inner steps N.
    #[arg(long, default_value_t = 4)]
    steps: usize,
    /// LoRA rank, on all seven projections.
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Tokens a segment.
    #[arg(long, default_value_t = 256)]
    segment: usize,
    /// Segments of an episode in one pass.
    #[arg(long, default_value_t = 1)]
    micro_batch: usize,
    /// Recompute each layer instead of keeping its intermediate values.
    #[arg(long)]
    recompute: bool,
    /// Encode only: the inner loop without the meta-gradient.
    #[arg(long)]
    encode: bool,
    /// Times to repeat; the median is printed.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Begin no other repetition after this many seconds.
    #[arg(long, default_value_t = u64::MAX)]
    budget_secs: u64,
    /// Print a JSON object instead of a table, with the products' rate.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: base::Place,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    perk::memory::keep_freed_pages();
    let arguments = Arguments::parse();
    if !arguments.json {
        println!("{:>7} {:>3} {:>3} {:>8} {:>9} {:>10}", "tokens", "N", "T", "what", "seconds", "peak GB");
    }
    match arguments.tokens {
        Some(tokens) => row(&arguments, tokens),
        None => table(),
    }
}

fn table() {
    let own = std::env::current_exe().expect("a running program has a path");
    for (tokens, differentiated, encode) in [
        (512, 2, true),
        (512, 2, false),
        (512, 4, false),
        (1024, 2, false),
        (1024, 4, false),
        (2048, 2, false),
        (2048, 4, false),
    ] {
        let mut command = Command::new(&own);
        command.args(["--tokens", &tokens.to_string(), "--differentiated", &differentiated.to_string()]);
        if encode {
            command.arg("--encode");
        }
        let output = command.output().expect("the bench starts itself");
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().nth(1) {
            Some(line) => println!("{line}"),
            None => println!("{tokens:>7} failed: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

fn row(arguments: &Arguments, tokens: usize) {
    let start = Instant::now();
    let learner = learner(arguments);
    let load_secs = start.elapsed().as_secs_f64();
    let params = params::start(&learner, 5e-5);
    let contexts = contexts(arguments, &learner, tokens);
    let start = Instant::now();
    if arguments.place.warm_up {
        once(arguments, &learner, &params, &contexts, WARM_UP_TOKENS);
    }
    let budget = Duration::from_secs(arguments.budget_secs);
    let mut seconds = vec![];
    while seconds.is_empty() || (seconds.len() < arguments.repeat && start.elapsed() < budget) {
        seconds.push(once(arguments, &learner, &params, &contexts, tokens));
    }
    if arguments.json {
        let row = json(arguments, tokens, &learner, load_secs, seconds);
        return println!("{row}");
    }
    println!(
        "{tokens:>7} {:>3} {:>3} {:>8} {:>9.1} {:>10.2}",
        arguments.steps,
        arguments.differentiated,
        if arguments.encode { "encode" } else { "meta" },
        base::median(seconds),
        base::peak_gb(),
    );
}

/// Every episode's context, in segments.
fn contexts(arguments: &Arguments, learner: &Learner, tokens: usize) -> Vec<Vec<Sequence>> {
    let count = tokens / arguments.segment;
    let segment = |seed| sequence(learner, arguments.segment, 4, seed);
    (0..arguments.episodes as usize).map(|e| (e * count..(e + 1) * count).map(segment).collect()).collect()
}

/// Seconds of one encode or meta-step over the first `tokens` of every context.
fn once(
    arguments: &Arguments,
    learner: &Learner,
    params: &MetaParams,
    contexts: &[Vec<Sequence>],
    tokens: usize,
) -> f64 {
    let most = tokens / arguments.segment;
    let contexts: Vec<_> = contexts.iter().map(|context| &context[..most.min(context.len())]).collect();
    let start = Instant::now();
    if arguments.encode {
        learner.adapt_together(params, &contexts).expect("runs");
    } else {
        let queries: Vec<_> = (0..contexts.len()).map(|e| [sequence(learner, 24, 20, 99 + e)]).collect();
        let queries: Vec<_> = queries.iter().map(<[_; 1]>::as_slice).collect();
        learner.meta_gradients(params, &contexts, &queries).expect("runs");
    }
    learner.backbone.decoder.device.synchronize().expect("the device works");
    start.elapsed().as_secs_f64()
}

/// One row for a machine to read. The work counted is that of the products with frozen matrices alone: two
/// operations a weight and token, once for the loss, once for its gradient, and twice as much for the product of
/// the Hessian.
fn json(
    arguments: &Arguments,
    tokens: usize,
    learner: &Learner,
    load_secs: f64,
    seconds: Vec<f64>,
) -> serde_json::Value {
    let passes = match arguments.encode {
        true => 2 * arguments.steps,
        false => 2 * arguments.steps + 4 * arguments.differentiated,
    };
    let weights = perk::meta::base_parameters(&learner.backbone.decoder.config);
    let all_tokens = f64::from(arguments.episodes) * tokens as f64;
    let operations = 2.0 * weights as f64 * all_tokens * passes as f64;
    let shape = arguments.shape.to_possible_value().expect("no shape is hidden");
    let (repeats, seconds) = (seconds.len(), base::median(seconds));
    serde_json::json!({
        "what": if arguments.encode { "encode" } else { "meta" },
        "shape": arguments.base.is_none().then(|| shape.get_name()), "base": arguments.base,
        "tokens": tokens, "episodes": arguments.episodes, "segment": arguments.segment,
        "steps": arguments.steps, "differentiated": arguments.differentiated,
        "rank": arguments.rank, "storage": arguments.place.storage,
        "matmul_precision": arguments.place.matmul_precision, "cpu_kernel": perk::autodiff::CpuKernel::chosen().name(),
        "device": arguments.place.device,
        "micro_batch": arguments.micro_batch, "seconds": seconds, "repeats": repeats, "tflops": operations / seconds / 1e12,
        "load_secs": load_secs, "matrices_gb": learner.backbone.decoder.matrix_bytes() as f64 / 1e9,
        "host_peak_gb": base::peak_gb(),
    })
}

fn learner(arguments: &Arguments) -> Learner {
    let (decoder, layout) = match &arguments.base {
        Some(path) => base::loaded(path, arguments.rank, &arguments.place),
        None => base::with_shape(&arguments.shape.config(), arguments.rank, &arguments.place),
    };
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
        activations: if arguments.recompute { Activations::Recompute } else { Activations::Keep },
    };
    Learner::new(decoder, layout, options).expect("settings fit")
}

/// Made-up tokens: below every vocabulary in use at Qwen's size, or below that of a smaller base.
fn sequence(learner: &Learner, length: usize, loss_from: usize, seed: usize) -> Sequence {
    let end = learner.backbone.decoder.config.vocab_size.min(150_000);
    Sequence::new(base::tokens_below(length, seed, end), loss_from)
}
