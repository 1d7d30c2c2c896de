//! The rate of products with frozen matrices, in bf16 or in blocks of GGUF files, at the sizes of a layer of Qwen2.5-0.5B, in GFLOP/s on all threads:
//! forwards and back, at each precision, the splitting of the left factor included.
//!
//! `cargo bench --bench frozen`; `-- --rows 512` for another number of rows, `-- --blocks Q5_0` for blocks of a type (where
//! the width is whole blocks). `PERK_CPU_KERNEL` names the instructions. Each
//! figure is the best of `--repeat` rounds through as many matrices of one size as a model has, so that they are read from
//! memory as a pass reads them.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use clap::Parser;
use perk::autodiff::{BlockRows, Blocked, CpuKernel, Frozen, Ops, Stored};
use perk::config::MatmulPrecision;
use perk::gguf::TensorType;

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
    /// ggml's name of a type, in the place of bf16.
    #[arg(long)]
    blocks: Option<String>,
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

fn tensor_type(name: &str) -> TensorType {
    let found = TensorType::ALL.into_iter().find(|tensor_type| tensor_type.name() == name);
    found.unwrap_or_else(|| panic!("--blocks {name} is none of {:?}", TensorType::ALL.map(TensorType::name)))
}

/// A matrix in blocks with scales of one size, and whatever numbers random bits are.
fn in_blocks(matrix: &Tensor, blocks: TensorType) -> Frozen {
    let (rows, width) = matrix.dims2().expect("a matrix");
    let mut bytes = vec![0x2cu8; blocks.bytes(rows * width).expect("memory for a factor")];
    bytes
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| at % 3 > 0)
        .for_each(|(at, byte)| *byte = (at * 7 % 64) as u8);
    let rows = BlockRows::new(blocks, rows, width, bytes).expect("whole blocks");
    Blocked::new(width, vec![rows]).into()
}

fn row(arguments: &Arguments, (out, width): (usize, usize), precision: MatmulPrecision) {
    let blocks = arguments.blocks.as_deref().map(tensor_type);
    if blocks.is_some_and(|blocks| !width.is_multiple_of(blocks.block())) {
        return;
    }
    let matrix = || {
        let matrix = random(out, width, DType::BF16);
        let matrix = blocks.map_or_else(|| matrix.clone().into(), |blocks| in_blocks(&matrix, blocks));
        matrix.pack(precision).expect("memory")
    };
    let matrices: Vec<Frozen> = (0..arguments.matrices).map(|_| matrix()).collect();
    matrices.iter().for_each(Frozen::pack_back);
    let (x, dy) = (random(arguments.rows, width, DType::F32), random(arguments.rows, out, DType::F32));
    let forward =
        best(arguments, &matrices, |w| Ops::affine(&x, w, None, None, Stored::Whole).expect("shapes fit"));
    let back = best(arguments, &matrices, |w| dy.affine_back(w, None, Stored::Whole).expect("shapes fit"));
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
