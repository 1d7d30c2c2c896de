//! The rate of products with frozen matrices in bf16 at the sizes of a layer of Qwen2.5-0.5B, in GFLOP/s on all threads:
//! forwards and back, at each precision, the splitting of the left factor included.
//!
//! `cargo bench --bench frozen`; `-- --rows 512` for another number of rows. `PERK_CPU_KERNEL` names the instructions. Each
//! figure is the best of `--repeat` rounds through as many matrices of one size as a model has, so that they are read from
//! memory as a pass reads them.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use clap::Parser;
use perk::autodiff::{CpuKernel, Frozen, Ops};
use perk::config::MatmulPrecision;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Rows of the left factor.
    #[arg(long, default_value_t = 256)]
    rows: usize,
    /// Matrices of a size.
    #[arg(long, default_value_t = 24)]
    matrices: usize,
    /// Rounds that are timed, after one that is not.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// `(out, in)` of q, k, v together, output, gate and up together, down.
const SIZES: [(usize, usize); 4] = [(1152, 896), (896, 896), (9728, 896), (896, 4864)];

fn main() {
    perk::memory::keep_freed_pages();
    let arguments = Arguments::parse();
    println!("kernel {}, {} rows, GFLOP/s", CpuKernel::chosen().name(), arguments.rows);
    println!("{:>5} {:>5} {:>9} {:>8} {:>8}", "out", "in", "precision", "forward", "back");
    for size in SIZES {
        for precision in [MatmulPrecision::Medium, MatmulPrecision::High, MatmulPrecision::Highest] {
            row(&arguments, size, precision);
        }
    }
}

fn random(rows: usize, columns: usize, dtype: DType) -> Tensor {
    let random = Tensor::rand(-1f32, 1.0, (rows, columns), &Device::Cpu).expect("memory for a factor");
    random.to_dtype(dtype).expect("memory for a factor")
}

fn row(arguments: &Arguments, (out, width): (usize, usize), precision: MatmulPrecision) {
    let matrix = || Frozen::from(random(out, width, DType::BF16)).pack(precision).expect("memory");
    let matrices: Vec<Frozen> = (0..arguments.matrices).map(|_| matrix()).collect();
    matrices.iter().for_each(Frozen::pack_back);
    let (x, dy) = (random(arguments.rows, width, DType::F32), random(arguments.rows, out, DType::F32));
    let forward = best(arguments, &matrices, |w| Ops::affine(&x, w, None, None).expect("shapes fit"));
    let back = best(arguments, &matrices, |w| dy.affine_back(w, None).expect("shapes fit"));
    let rate = |seconds: f64| 2.0 * (arguments.rows * out * width * matrices.len()) as f64 / seconds / 1e9;
    let precision = precision.to_string();
    println!("{out:>5} {width:>5} {precision:>9} {:>8.0} {:>8.0}", rate(forward), rate(back));
}

/// Seconds of the fastest round through all matrices.
fn best(arguments: &Arguments, matrices: &[Frozen], product: impl Fn(&Frozen) -> Tensor + Sync) -> f64 {
    let round = || {
        let start = Instant::now();
        // On a thread of the pool, as the engine computes.
        rayon::scope(|_| matrices.iter().for_each(|matrix| drop(product(matrix))));
        start.elapsed().as_secs_f64()
    };
    round();
    (0..arguments.repeat).map(|_| round()).fold(f64::INFINITY, f64::min)
}
