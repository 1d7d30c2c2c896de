#!/usr/bin/env bash
# Type-checks the feature `cuda` on a machine without a GPU and without NVIDIA's compiler, in a target folder of
# its own. Whether the kernels compile and run is for scripts/build-cuda.sh and scripts/gpu-check.sh to say.
set -euo pipefail
cd "$(dirname "$0")/.."

room=$PWD/target/cuda-check
mkdir -p "$room/bin"
install -m 755 scripts/lib/fake_nvcc.sh "$room/bin/nvcc"
export PATH=$room/bin:$PATH NVCC=$room/bin/nvcc
export CUDA_COMPUTE_CAP=90 CUDARC_CUDA_VERSION=13000
exec cargo clippy --features cuda --all-targets --target-dir "$room/target" -- -D warnings
