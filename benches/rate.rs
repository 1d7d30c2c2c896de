//! The rate of one large product on a device, in TFLOP/s: what the rest is measured against.
//!
//! `cargo bench --bench rate -- --device cuda --size 8192 --dtype bf16`; the best of `--repeat` products after one untimed.

use std::time::Instant;

use candle_core::{DType, Tensor};
use clap::Parser;
use perk::device::DeviceName;

#[derive(Parser)]
struct Arguments {
    /// Rows and columns of both factors.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Products that are timed.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Type of both factors: f32, bf16 or f16.
    #[arg(long, default_value = "f32")]
    dtype: DType,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Arguments { size, repeat, device, dtype, .. } = Arguments::parse();
    let device = device.open().unwrap_or_else(|fault| panic!("{fault}")).device;
    let factor = Tensor::rand(-1f32, 1.0, (size, size), &device)
        .and_then(|x| x.to_dtype(dtype))
        .expect("memory for a factor");
    let once = || {
        let start = Instant::now();
        factor.matmul(&factor).expect("shapes fit");
        device.synchronize().expect("the device works");
        start.elapsed().as_secs_f64()
    };
    once();
    let best = (0..repeat).map(|_| once()).fold(f64::INFINITY, f64::min);
    println!("{:.2}", 2.0 * (size as f64).powi(3) / best / 1e12);
}
