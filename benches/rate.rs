//! The rate of one large product in f32 on a device, in TFLOP/s: what the rest is measured against.
//!
//! `cargo bench --bench rate -- --device cuda --size 8192`; the best of `--repeat` products after one untimed.

use std::time::Instant;

use candle_core::{DType, Tensor};
use clap::Parser;

#[path = "shared/qwen.rs"]
mod qwen;

#[derive(Parser)]
struct Arguments {
    /// Rows and columns of both factors.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Products that are timed.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    #[command(flatten)]
    place: qwen::Place,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let (device, size) = (arguments.place.open(), arguments.size);
    let factor = Tensor::rand(-1f32, 1.0, (size, size), &device).and_then(|t| t.to_dtype(DType::F32));
    let factor = factor.expect("memory for a factor");
    let once = || {
        let start = Instant::now();
        factor.matmul(&factor).expect("shapes fit");
        qwen::Place::wait(&device);
        start.elapsed().as_secs_f64()
    };
    once();
    let best = (0..arguments.repeat).map(|_| once()).fold(f64::INFINITY, f64::min);
    println!("{:.2}", 2.0 * (size as f64).powi(3) / best / 1e12);
}
