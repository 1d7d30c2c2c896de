//! Time and peak memory of one meta-step, or of one encode, at Qwen2.5-0.5B shapes with random weights, or of a base that
//! `--base` names.
//!
//! `cargo bench --bench cost` runs the table; `-- --tokens 512 --differentiated 2` runs one row; `--encode`
//! times the inner loop alone. Every row runs in a process of its own, so that its peak is its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use perk::meta::{InnerOptimizer, InnerOptions, Learner, Reduction};
use perk::model::Activations;
use perk::optim::AdamW;
use perk::text::Sequence;

#[path = "shared/base.rs"]
mod base;
#[path = "shared/params.rs"]
mod params;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Context tokens; without it the whole table is run.
    #[arg(long)]
    tokens: Option<usize>,
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
    /// Segments in one pass.
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
    let segments: Vec<_> =
        (0..tokens / arguments.segment).map(|s| sequence(&learner, arguments.segment, 4, s)).collect();
    let queries = [sequence(&learner, 24, 20, 99)];
    let device = &learner.backbone.decoder.device;
    let once = || {
        let start = Instant::now();
        if arguments.encode {
            learner.adapt(&params, &segments).expect("runs");
        } else {
            learner.meta_gradient(&params, &segments, &queries).expect("runs");
        }
        device.synchronize().expect("the device works");
        start.elapsed().as_secs_f64()
    };
    if arguments.place.warm_up {
        once();
    }
    let seconds: Vec<f64> = (0..arguments.repeat).map(|_| once()).collect();
    if arguments.json {
        let row = json(arguments, tokens, &learner, [load_secs, base::median(seconds)]);
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

/// One row for a machine to read. The work counted is that of the products with frozen matrices alone: two
/// operations a weight and token, once for the loss, once for its gradient, and twice as much for the product of
/// the Hessian.
fn json(
    arguments: &Arguments,
    tokens: usize,
    learner: &Learner,
    [load_secs, seconds]: [f64; 2],
) -> serde_json::Value {
    let passes = match arguments.encode {
        true => 2 * arguments.steps,
        false => 2 * arguments.steps + 4 * arguments.differentiated,
    };
    let weights = perk::meta::base_parameters(&learner.backbone.decoder.config);
    let operations = 2.0 * weights as f64 * tokens as f64 * passes as f64;
    serde_json::json!({
        "what": if arguments.encode { "encode" } else { "meta" },
        "tokens": tokens, "steps": arguments.steps, "differentiated": arguments.differentiated,
        "rank": arguments.rank, "storage": arguments.place.storage,
        "matmul_precision": arguments.place.matmul_precision, "cpu_kernel": perk::autodiff::CpuKernel::chosen().name(),
        "device": arguments.place.device,
        "micro_batch": arguments.micro_batch, "seconds": seconds, "tflops": operations / seconds / 1e12,
        "load_secs": load_secs, "matrices_gb": learner.backbone.decoder.matrix_bytes() as f64 / 1e9,
        "host_peak_gb": base::peak_gb(),
    })
}

fn learner(arguments: &Arguments) -> Learner {
    let (decoder, layout) = match &arguments.base {
        Some(path) => base::loaded(path, arguments.rank, &arguments.place),
        None => base::qwen(24, arguments.rank, &arguments.place),
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
