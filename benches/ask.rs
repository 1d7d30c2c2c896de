//! Time to the first token and speed of the next ones, greedy, through an adapter that is not merged, at
//! Qwen2.5-0.5B shapes with random weights in f32.
//!
//! `cargo bench --bench ask -- --prompt-tokens 32 --new-tokens 64`; medians of `--repeat` generations.

use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::DType;
use clap::Parser;
use perk::model::lora::{Adapter, LoraInit};
use perk::model::{Decoding, Sampling, Session};

#[path = "shared/base.rs"]
mod base;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 32)]
    prompt_tokens: usize,
    /// Tokens to generate, at least two.
    #[arg(long, default_value_t = 64)]
    new_tokens: usize,
    /// LoRA rank, on all seven projections.
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Layers of the base; Qwen2.5-0.5B has 24.
    #[arg(long, default_value_t = 24)]
    layers: usize,
    /// Times to repeat; the medians are printed.
    #[arg(long, default_value_t = 3)]
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
    let (decoder, layout) = base::qwen(arguments.layers, arguments.rank, &arguments.place);
    let init = LoraInit::SmallB { std: 0.01 };
    let adapter = Adapter::new(layout, init, 1, DType::F32, &decoder.device).expect("memory for the adapter");
    let capacity = arguments.prompt_tokens + arguments.new_tokens;
    let mut session = Session::new(&decoder, Some(adapter.parts()), capacity).expect("the adapter fits");
    if arguments.place.warm_up {
        generate(&mut session, &arguments);
    }
    let runs = (0..arguments.repeat).map(|_| generate(&mut session, &arguments));
    let (first, speed): (Vec<f64>, Vec<f64>) = runs.unzip();
    println!("{:>7} {:>7} {:>9} {:>9} {:>9}", "prompt", "new", "first s", "tokens/s", "peak GB");
    println!(
        "{:>7} {:>7} {:>9.4} {:>9.2} {:>9.2}",
        arguments.prompt_tokens,
        arguments.new_tokens,
        base::median(first),
        base::median(speed),
        base::peak_gb(),
    );
}

/// Seconds to the first token, and tokens a second after it.
fn generate(session: &mut Session<'_>, arguments: &Arguments) -> (f64, f64) {
    let prompt = base::tokens(arguments.prompt_tokens, 4);
    let decoding =
        Decoding { stops: Vec::new(), max_new_tokens: arguments.new_tokens, sampling: Sampling::Greedy };
    session.clear();
    let start = Instant::now();
    let mut first = None;
    let mut on_token = |_| {
        first.get_or_insert_with(Instant::now);
        Ok(ControlFlow::Continue(()))
    };
    let count = session.generate(&prompt, &decoding, &mut on_token).expect("runs").tokens.len();
    let first = first.expect("at least two tokens were asked for");
    ((first - start).as_secs_f64(), (count - 1) as f64 / first.elapsed().as_secs_f64())
}
