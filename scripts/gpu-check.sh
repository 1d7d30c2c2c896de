#!/usr/bin/env bash
# Checks perk on a GPU and measures it: the numerical tests on the device, then a table of meta-steps, encodes and
# answers with random weights, beside the same work in PyTorch where that is installed, then what kernels ran.
#
#   scripts/gpu-check.sh --prepare       builds what is run, with scripts/build-cuda.sh: needs a network, no GPU
#   scripts/gpu-check.sh [OPTIONS]       needs a GPU and python3 (3.12), no network and no Rust
#
# --prepare leaves target/gpu-check, 64 MiB at most: carry that folder, configs/, data/, scripts/ and tests/golden to
# the machine with the GPU. Every row has a limit of its own; one that fails or is too slow stops no other.
#
#   --tests --table --profile   these sections alone, not all of them; calls with one FILE add up
#   --out FILE                  findings as JSON, whole after every row (target/gpu-run/result.json)
#   --rows REGEX                rows of the table whose key this finds (scripts/gpu/rows.py has the keys)
#   --micro-batch N             segments that perk takes at once (8)
#   --within SECONDS            no row begins after these (540)
#   --python PROGRAM            the Python that has PyTorch (python3)
#
# Without a GPU the tests run on the CPU by the operations that a GPU would get, and rows say "not measured".
# `scripts/gpu_table.py FILE` puts the findings into docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."

python=python3 prepare=0 arguments=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --prepare) prepare=1; shift ;;
    --python) python=${2:?--python needs a value}; shift 2 ;;
    --tests | --table | --profile) arguments+=("$1"); shift ;;
    --out | --rows | --micro-batch | --within) arguments+=("$1" "${2:?$1 needs a value}"); shift 2 ;;
    *) echo "error: \`$1\` is no option of this script: --help lists them" >&2; exit 2 ;;
  esac
done
((prepare)) || exec "$python" scripts/gpu_check.py "${arguments[@]}"

carried=target/gpu-check room=target/gpu-run

# The executables of one cargo command, copied under their targets' names, without what only a debugger reads.
keep_executables() {
  "$python" -c '
import json, shutil, subprocess, sys
for line in sys.stdin:
    found = json.loads(line) if line.startswith("{") else {}
    if found.get("executable") and found.get("reason") == "compiler-artifact":
        # An integration test has perk built too, with the same name and features.
        kind = "lib" if "lib" in found["target"]["kind"] else found["target"]["name"]
        shutil.copy(found["executable"], sys.argv[1] + "/" + kind)
        subprocess.run(["strip", sys.argv[1] + "/" + kind], check=False)
' "$room"
}

# The library that traces kernels: CUPTI's headers come as a wheel, its library lies beside PyTorch where the GPU is.
build_tracer() {
  local wheel=target/cuda/trace toolkit=target/cuda/site/nvidia/cu13
  [[ -d $wheel/nvidia ]] || "$python" -m pip install --quiet --no-deps --no-compile --only-binary=:all: --target "$wheel" \
    nvidia-cuda-cupti==13.0.85
  cc -shared -fPIC -O2 -Wall -Wextra -I"$wheel/nvidia/cu13/include" -I"$toolkit/include" scripts/gpu/kernel_trace.c \
    -o "$room/libkernel_trace.so" "$wheel/nvidia/cu13/lib/libcupti.so.13"
}

# One archive: its window is wide enough to find what the programs have in common.
pack() {
  "$python" -c '
import lzma, sys, tarfile
from pathlib import Path
room, archive, *names = sys.argv[1:]
filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 27}]
with lzma.open(archive + ".new", "wb", filters=filters) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
    for name in names:
        tar.add(Path(room) / name, name)
Path(archive + ".new").replace(archive)
print(f"{archive}: {Path(archive).stat().st_size / 2**20:.1f} MiB")
' "$room" "$carried/programs.tar.xz" "$@"
}

rm -rf "$carried" "$room"
mkdir -p "$carried" "$room"
scripts/build-cuda.sh build --release --bin perk --message-format=json | keep_executables
scripts/build-cuda.sh test --release --lib --test golden --test model --no-run --message-format=json |
  keep_executables
scripts/build-cuda.sh bench --bench cost --bench ask --bench rate --no-run --message-format=json | keep_executables
build_tracer
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[[ -z $(git status --porcelain 2>/dev/null) ]] || commit+=" with changes"
echo "$commit" >"$carried/commit"
pack lib golden model cost ask rate perk libkernel_trace.so
