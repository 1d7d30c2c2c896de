//! Compiles the CUDA kernels where the feature `cuda` is on.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

const SOURCES: &str = "src/autodiff/fused/cuda";

/// Machine code for Ampere and for Hopper, and PTX that a driver compiles for what comes after.
const TARGETS: [&str; 3] =
    ["arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90", "arch=compute_90,code=compute_90"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let compiler = env::var("NVCC").unwrap_or_else(|_| "nvcc".to_owned());
    let image = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("kernels.fatbin");
    let mut command = Command::new(&compiler);
    command.args(["-fatbin", "-std=c++17", "-O3", "-o"]).arg(&image);
    command.args(TARGETS.iter().flat_map(|target| ["-gencode", target]));
    command.arg(format!("{SOURCES}/kernels.cu"));
    let status = command.status().unwrap_or_else(|fault| {
        panic!("`{compiler}` does not run ({fault}): install the CUDA toolkit, or build with scripts/build-cuda.sh")
    });
    assert!(status.success(), "`{compiler}` could not compile {SOURCES}/kernels.cu");
    assert!(fs::exists(&image).unwrap_or(false), "`{compiler}` left no {}", image.display());
}
