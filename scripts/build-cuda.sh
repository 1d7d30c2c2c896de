#!/usr/bin/env bash
# Builds perk for NVIDIA GPUs from package registries alone: no CUDA toolkit, no GPU, no root.
#
#   scripts/build-cuda.sh [CARGO ARGUMENTS]      default: build --release
#
# The compiler comes as wheels from PyPI (Linux on x86-64, 250 MB, python3 with pip) into target/cuda. The binary
# loads NVIDIA's libraries when it starts to use a GPU: libcuda.so.1 of the driver (580 or later), and
# libcublas.so.13, libcublasLt.so.13 and libcurand.so.10 from wherever the system or LD_LIBRARY_PATH has them.
#
#   CUDA_COMPUTE_CAP   compute capability without its dot; 90 (H100, H200) if not set
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "error: $1" >&2
  exit 1
}

command -v cargo >/dev/null || fail "cargo is missing: https://rustup.rs"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is missing (Debian: python3-pip)"

room=$PWD/target/cuda
toolkit=$room/site/nvidia/cu13
mkdir -p "$room"

# 13.1 and later write PTX that driver 580 refuses; 12 would ask for libcublas.so.12.
install_compiler() {
  python3 -m pip install --quiet --no-deps --no-compile --only-binary=:all: --target "$room/site" \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
  # The wheels hold the static runtime only: a linker script makes it answer to the usual name.
  echo 'INPUT(-lcudart_static)' >"$toolkit/lib/libcudart.so"
}

# Candle asks its CUDA bindings to link NVIDIA's libraries, which are not here. A copy of the one crate, with one
# word changed, has them loaded at run time.
patch_candle() {
  local version
  version=$(sed -n '/^name = "candle-core"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
  candle=$room/candle-core-$version
  if [[ ! -d $candle ]]; then
    cargo fetch --quiet --locked
    local sources=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"candle-core-$version")
    rm -rf "$candle.new"
    cp -r "${sources[0]}" "$candle.new"
    sed -i 's/"dynamic-linking"/"dynamic-loading"/' "$candle.new/Cargo.toml"
    grep -q '"dynamic-loading"' "$candle.new/Cargo.toml" ||
      fail "candle-core $version names its CUDA bindings in another way: see $candle.new/Cargo.toml"
    mv "$candle.new" "$candle"
  fi
}

[[ -x $toolkit/bin/nvcc && -f $toolkit/lib/libcudart.so ]] || install_compiler
patch_candle

# The patch is no part of the project: what it changes in the lock file is put back, however this ends.
cp Cargo.lock "$room/Cargo.lock"
trap 'cp "$room/Cargo.lock" Cargo.lock' EXIT

export NVCC=$toolkit/bin/nvcc PATH=$toolkit/bin:$PATH LIBRARY_PATH=$toolkit/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=13000
export CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-$(nproc)} NVCC_APPEND_FLAGS=--compress-mode=size
if (($# == 0)); then set -- build --release; fi
cargo "$@" --features cuda --target-dir "$room/target" --config "patch.crates-io.candle-core.path=\"$candle\""
[[ $1 != build ]] || echo "built $room/target/release/perk"
