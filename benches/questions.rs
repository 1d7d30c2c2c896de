//! Questions to one adapter, answered one after another and in one batch, on a base from a folder.
//!
//! `cargo bench --bench questions -- --base data/tiny-base --questions 8`; medians of `--repeat` rounds, the two
//! ways in turn.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::DType;
use clap::Parser;
use perk::model::lora::{Adapter, Layers, LoraInit, LoraLayout, LoraSpec};
use perk::model::{Decoder, Decoding, Projection, Sampling, Session, generate_many, keep_going};

#[path = "shared/base.rs"]
mod shared;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Folder of the base.
    #[arg(long, default_value = "data/tiny-base")]
    base: PathBuf,
    /// Questions to answer.
    #[arg(long, default_value_t = 8)]
    questions: usize,
    /// Tokens of the longest question; the others have up to three less.
    #[arg(long, default_value_t = 12)]
    prompt_tokens: usize,
    /// Tokens of each answer.
    #[arg(long, default_value_t = 24)]
    new_tokens: usize,
    /// LoRA rank, on all seven projections.
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Times to repeat; the medians are printed.
    #[arg(long, default_value_t = 15)]
    repeat: usize,
    #[command(flatten)]
    place: shared::Place,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    perk::memory::keep_freed_pages();
    let arguments = Arguments::parse();
    let storage = arguments.place.storage();
    let decoder = Decoder::load(&arguments.base, storage, DType::F32, &arguments.place.open())
        .unwrap_or_else(|fault| panic!("{fault}"));
    let adapter = adapter(&decoder, arguments.rank);
    let prompts = prompts(&decoder, &arguments);
    let decoding =
        Decoding { stops: Vec::new(), max_new_tokens: arguments.new_tokens, sampling: Sampling::Greedy };
    let round = || {
        let alone = seconds(|| one_after_another(&decoder, &adapter, &prompts, &decoding));
        (alone, seconds(|| in_one_batch(&decoder, &adapter, &prompts, &decoding)))
    };
    if arguments.place.warm_up {
        round();
    }
    let (alone, together): (Vec<f64>, Vec<f64>) = (0..arguments.repeat).map(|_| round()).unzip();
    let (alone, together) = (shared::median(alone), shared::median(together));
    println!("{:>9} {:>9} {:>9} {:>6}", "questions", "alone s", "batch s", "ratio");
    println!("{:>9} {alone:>9.4} {together:>9.4} {:>6.2}", arguments.questions, alone / together);
}

fn adapter(decoder: &Decoder, rank: usize) -> Adapter {
    let (targets, layers) = (Projection::ALL.to_vec(), Layers::All);
    let spec = LoraSpec { rank, alpha: 16.0, rslora: true, targets, layers };
    let layout = LoraLayout::new(spec, &decoder.config);
    let init = LoraInit::SmallB { std: 0.01 };
    Adapter::new(layout, init, 1, DType::F32, &decoder.device).expect("memory for the adapter")
}

/// Made-up questions of slightly different lengths.
fn prompts(decoder: &Decoder, arguments: &Arguments) -> Vec<Vec<u32>> {
    let vocab = decoder.config.vocab_size as u32;
    let length = |index: usize| (arguments.prompt_tokens - arguments.prompt_tokens.min(index % 4)).max(1);
    let ids = |index: usize| shared::tokens(length(index), index).into_iter().map(|token| token % vocab);
    (0..arguments.questions).map(|index| ids(index).collect()).collect()
}

fn one_after_another(decoder: &Decoder, adapter: &Adapter, prompts: &[Vec<u32>], decoding: &Decoding) {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let capacity = longest + decoding.max_new_tokens;
    let mut session = Session::new(decoder, Some(adapter.parts()), capacity).expect("the adapter fits");
    for prompt in prompts {
        session.clear();
        session.generate(prompt, decoding, &mut keep_going).expect("runs");
    }
}

fn in_one_batch(decoder: &Decoder, adapter: &Adapter, prompts: &[Vec<u32>], decoding: &Decoding) {
    let mut on_token = |_, _| Ok(ControlFlow::Continue(()));
    let prompts: Vec<_> = prompts.iter().map(|prompt| (prompt.as_slice(), decoding)).collect();
    generate_many(decoder, Some(adapter.parts()), &prompts, &mut on_token).expect("runs");
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}
