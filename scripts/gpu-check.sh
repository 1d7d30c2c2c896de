#!/usr/bin/env bash
# Checks perk on a GPU and measures it: the numerical tests on the device, then a table of meta-step, encode and ask
# at Qwen2.5-0.5B shapes with random weights, each beside the same work in PyTorch where that is installed.
#
#   scripts/gpu-check.sh --prepare       builds what is run, with scripts/build-cuda.sh: needs a network, no GPU
#   scripts/gpu-check.sh [--quick] [--out FILE] [--python python3]      needs a GPU, no network and no Rust
#
# Both work in target/gpu-check: carry that folder, tests/golden and scripts/ to a machine without a network. FILE
# (default target/gpu-check/result.json) holds every row; the table is printed. Without a GPU the same tests run on
# the CPU by the operations that a GPU would get, and each row of the table says "not measured". --quick leaves out
# 32K tokens and rank 256.
set -euo pipefail
cd "$(dirname "$0")/.."

room=target/gpu-check out=$room/result.json python=python3 quick=0 prepare=0
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --prepare) prepare=1; shift ;;
    --quick) quick=1; shift ;;
    --out | --python) printf -v "${1#--}" %s "${2:?$1 needs a value}"; shift 2 ;;
    *) echo "error: \`$1\` is no option of this script" >&2; exit 2 ;;
  esac
done

# The executables of one cargo command, copied under their targets' names.
keep_executables() {
  "$python" -c '
import json, shutil, sys
for line in sys.stdin:
    found = json.loads(line) if line.startswith("{") else {}
    if found.get("executable") and found.get("reason") == "compiler-artifact":
        kind = "lib" if "lib" in found["target"]["kind"] else found["target"]["name"]
        shutil.copy(found["executable"], sys.argv[1] + "/" + kind)
' "$room"
}

if ((prepare)); then
  mkdir -p "$room"
  scripts/build-cuda.sh test --release --lib --test golden --test model --no-run --message-format=json |
    keep_executables
  scripts/build-cuda.sh bench --bench cost --bench ask --bench rate --no-run --message-format=json |
    keep_executables
  ls "$room"
  exit
fi

for program in lib golden model cost ask rate; do
  [[ -x $room/$program ]] || { echo "error: $room/$program is missing: run $0 --prepare first" >&2; exit 1; }
done

# NVIDIA's libraries may come with a Python environment.
libraries=$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0] + "/cu13/lib")' 2>/dev/null || true)
export LD_LIBRARY_PATH=${libraries:+$libraries:}${LD_LIBRARY_PATH:-}
export PERK_GOLDEN_DIR=$PWD/tests/golden

card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1 || true)
if [[ -n $card ]]; then
  export PERK_TEST_DEVICE=cuda
  echo "card: $card"
else
  export PERK_COMPOSED=1
  echo "no GPU here: the tests run on the CPU by the operations that a GPU would get"
fi

echo "tests"
for tests in "lib autodiff:: optim:: meta::tests model::backbone device::" golden model; do
  read -ra command <<<"$tests"
  "$room/${command[0]}" --quiet "${command[@]:1}" | grep '^test result'
done

# sampled COMMAND…: its last line, a blank, and the most memory in MB that the GPU had in use meanwhile.
sampled() {
  local samples most line status=0
  samples=$(mktemp)
  nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 50 >"$samples" &
  local sampler=$!
  line=$("$@" 2>"$samples.err" | tail -n 1) || status=$?
  kill "$sampler" 2>/dev/null || true
  most=$(sort -n "$samples" | tail -n 1)
  if ((status)) || [[ -z $line ]]; then
    line="failed: $(grep -v '^$' "$samples.err" | tail -n 1 | tr -d '"\\' | cut -c 1-120)"
  fi
  rm -f "$samples" "$samples.err"
  printf '%s\t%s\n' "$line" "$most"
}

rows=()
# row WHO WHAT TOKENS RANK T SECONDS GB TFLOPS NOTE
row() {
  local share=
  [[ -z $8 || -z ${rate:-} ]] || share=$(awk "BEGIN { printf \"%.3f\", $8 / $rate }")
  printf '%-8s %-7s %7s %5s %2s %10s %8s %7s  %s\n' "$1" "$2" "$3" "$4" "$5" "${6:--}" "${7:--}" "${share:--}" "$9"
  rows+=("{\"who\":\"$1\",\"what\":\"$2\",\"tokens\":$3,\"rank\":$4,\"differentiated\":$5,\"seconds\":${6:-null},\"gpu_gb\":${7:-null},\"tflops\":${8:-null},\"share_of_rate\":${share:-null},\"note\":\"$9\"}")
}

gigabytes() { awk "BEGIN { printf \"%.2f\", $1 * 1048576 / 1e9 }"; }

number() { sed -n "s/.*\"$2\":\([0-9.e+-]*\).*/\1/p" <<<"$1"; }

perk_cost() { # WHAT TOKENS RANK T STORAGE MICRO_BATCH
  [[ -n $card ]] || { row perk "$1" "$2" "$3" "$4" "" "" "" "not measured"; return; }
  local line most flags=()
  [[ $1 != encode ]] || flags=(--encode)
  IFS=$'\t' read -r line most < <(sampled "$room/cost" --device cuda --storage "$5" --warm-up --repeat 3 --json \
    --tokens "$2" --rank "$3" --differentiated "$4" --micro-batch "$6" "${flags[@]}")
  case $line in
    failed:*) row perk "$1" "$2" "$3" "$4" "" "" "" "$line" ;;
    *) row perk "$1" "$2" "$3" "$4" "$(number "$line" seconds)" "$(gigabytes "$most")" "$(number "$line" tflops)" \
      "$5 weights, $6 segments at once" ;;
  esac
}

torch_cost() { # WHAT TOKENS RANK T NOTE FLAGS…
  local what=$1 tokens=$2 rank=$3 t=$4 note=$5
  shift 5
  [[ -n $card && -n $torch ]] || { row pytorch "$what" "$tokens" "$rank" "$t" "" "" "" "not measured"; return; }
  local line most cells
  [[ $what != encode ]] || set -- --encode "$@"
  IFS=$'\t' read -r line most < <(sampled "$python" scripts/peer_meta_step.py --device cuda --warm-up --repeat 3 \
    --tokens "$tokens" --rank "$rank" --differentiated "$t" "$@")
  read -ra cells <<<"$line"
  case $line in
    failed:*) row pytorch "$what" "$tokens" "$rank" "$t" "" "" "" "$line" ;;
    *) row pytorch "$what" "$tokens" "$rank" "$t" "${cells[4]}" "$(gigabytes "$most")" "" "$note" ;;
  esac
}

perk_ask() { # TOKENS RANK
  [[ -n $card ]] || { row perk ask "$1" "$2" 0 "" "" "" "not measured"; return; }
  local line most cells
  IFS=$'\t' read -r line most < <(sampled "$room/ask" --device cuda --storage bf16 --warm-up --prompt-tokens "$1" \
    --rank "$2")
  read -ra cells <<<"$line"
  case $line in
    failed:*) row perk ask "$1" "$2" 0 "" "" "" "$line" ;;
    *) row perk ask "$1" "$2" 0 "${cells[2]}" "$(gigabytes "$most")" "" "${cells[3]} tokens/s after the first" ;;
  esac
}

torch=$("$python" -c 'import torch; print(torch.__version__ if torch.cuda.is_available() else "")' 2>/dev/null || true)
rate=
if [[ -n $card ]]; then rate=$("$room/rate" --device cuda --size 8192); fi
echo "rate of a product of 8192 rows in f32: ${rate:-not measured}${rate:+ TFLOP/s}; PyTorch: ${torch:-none}"
printf '%-8s %-7s %7s %5s %2s %10s %8s %7s  %s\n' who what tokens rank T seconds 'GPU GB' share note
lengths=(1024 8192 32768) ranks=(16 256)
((quick == 0)) || { lengths=(1024 8192) ranks=(16); }
for tokens in "${lengths[@]}"; do
  for rank in "${ranks[@]}"; do
    # First the work that PyTorch does too, then what a user of perk would run.
    perk_cost encode "$tokens" "$rank" 0 f32 1
    torch_cost encode "$tokens" "$rank" 0 "f32, a segment at a time"
    perk_cost encode "$tokens" "$rank" 0 bf16 8
    for t in 2 4; do
      perk_cost meta "$tokens" "$rank" "$t" f32 1
      torch_cost meta "$tokens" "$rank" "$t" "f32, eager, a segment at a time"
      torch_cost meta "$tokens" "$rank" "$t" "f32, on the tape" --tape
      perk_cost meta "$tokens" "$rank" "$t" bf16 8
    done
  done
done
for rank in "${ranks[@]}"; do perk_ask 32 "$rank"; done

{
  printf '{"card":"%s","rate_tflops":%s,"pytorch":"%s","rows":[\n' "$card" "${rate:-null}" "$torch"
  for ((i = 0; i < ${#rows[@]}; i++)); do printf '%s%s\n' "${rows[i]}" "$( ((i + 1 == ${#rows[@]})) || echo ,)"; done
  echo ']}'
} >"$out.new"
mv "$out.new" "$out"
echo "$out"
