//! The kernels on the CPU, for tests: compiled by the machine's C++ compiler, and run a thread at a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::gemm::{Gemm, Kind, Operand};
use super::launch::Params;
use crate::{Error, Result};

/// With this environment variable set to a library that [`build`] made, tensors on the CPU are computed by the kernels in
/// it: so the numerical tests check what a card computes.
pub(in crate::autodiff) const HOST: &str = "PERK_HOST_KERNELS";

/// Threads of a warp here.
pub(super) const WARP: usize = 4;

static LIBRARY: LazyLock<Option<libloading::Library>> = LazyLock::new(|| {
    let path = std::env::var(HOST).ok()?;
    // SAFETY: our own code, built by the test that set the variable.
    #[allow(unsafe_code)]
    let library = unsafe { libloading::Library::new(path) };
    Some(library.expect("the library that the variable names"))
});

/// Whether kernels on the CPU were asked for.
pub(super) fn is_wanted() -> bool {
    LIBRARY.is_some()
}

type Kernel = unsafe extern "C" fn(Params);
type Launch = unsafe extern "C" fn(Kernel, *const Params, *const u32, u32);

/// Blocks of one launch run one after another, and so do launches.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a kernel.
pub(super) fn launch(
    name: &str,
    suffix: &str,
    (blocks, second, threads): (usize, usize, usize),
    params: &Params,
) -> Result<()> {
    let library = LIBRARY.as_ref().ok_or_else(|| Error::Invalid(format!("`{HOST}` is not set")))?;
    let symbol = format!("{name}{suffix}");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the symbols have these types in host.cpp; what the parameters point to is held by the caller.
    #[allow(unsafe_code)]
    unsafe {
        let missing = |fault| Error::Invalid(format!("there is no kernel `{symbol}`: {fault}"));
        let kernel = library.get::<Kernel>(symbol.as_bytes()).map_err(missing)?;
        let launch = library.get::<Launch>(b"host_launch").map_err(missing)?;
        launch(*kernel, params, [blocks as u32, second as u32].as_ptr(), threads as u32);
    }
    Ok(())
}

/// Compiles the kernels into `folder`; `None` where there is no C++ compiler.
pub(super) fn build(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("libkernels.so");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/autodiff/fused/cuda");
    let mut compiler = Command::new("c++");
    compiler.args([
        "-std=c++17",
        "-O2",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wno-unused-variable",
        "-Wno-unknown-pragmas",
        "-o",
    ]);
    let output = compiler.arg(&library).arg(sources.join("host.cpp")).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(library)
}

/// Takes a product by plain loops.
pub(super) fn multiply(gemm: &Gemm) {
    let Gemm { kind, a, b, c, rows, depth, columns, batch, alpha, beta, narrow } = *gemm;
    for nth in 0..batch {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let term = |k: usize| read(kind, &a, nth, i, k) * read(kind, &b, nth, k, j);
            let sum: f64 = (0..depth).map(term).sum();
            let place = nth * c.batch_stride + i * c.stride + j;
            let write = |old: f64| alpha * sum + if beta == 0.0 { 0.0 } else { beta * old };
            // SAFETY: the sum that made this product has checked that its shapes fit its tensors.
            #[allow(unsafe_code)]
            unsafe {
                if kind == Kind::F64 {
                    let place = (c.address as *mut f64).add(place);
                    place.write(write(*place));
                } else if narrow {
                    let place = (c.address as *mut half::bf16).add(place);
                    place.write(half::bf16::from_f64(write((*place).to_f64())));
                } else {
                    let place = (c.address as *mut f32).add(place);
                    place.write(write(f64::from(*place)) as f32);
                }
            }
        }
    }
}

/// One number of a factor.
fn read(kind: Kind, factor: &Operand, nth: usize, row: usize, column: usize) -> f64 {
    let (down, across) = if factor.transposed { (1, factor.stride) } else { (factor.stride, 1) };
    let place = nth * factor.batch_stride + row * down + column * across;
    // SAFETY: as in `multiply`.
    #[allow(unsafe_code)]
    unsafe {
        match kind {
            Kind::F64 => *(factor.address as *const f64).add(place),
            Kind::F32 | Kind::Tf32 => f64::from(*(factor.address as *const f32).add(place)),
            Kind::Bf16 => f64::from(*(factor.address as *const half::bf16).add(place)),
        }
    }
}
