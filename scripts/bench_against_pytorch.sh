#!/usr/bin/env bash
# Runs the bench `cost` at each matmul precision and scripts/peer_meta_step.py in f32 and in bf16 in
# turn with equal numbers of threads, and prints the medians of their times, their largest peaks, and the ratios.
#
#   scripts/bench_against_pytorch.sh [--repeats 3] [--threads CORES] [--python python3] [ARGUMENTS]
#
# ARGUMENTS go to both: --tokens, --differentiated, --steps, --rank, --segment, --encode. Without any, an encode
# and a meta-step of 512 tokens are run. perk's frozen weights are stored in bf16, as published ones are; its
# precisions stand beside PyTorch's types: `highest` beside f32, `medium` beside bf16, `high` beside both. Every
# run is a process of its own. Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/in_turn.sh
source scripts/lib/in_turn.sh
parse scripts/bench_against_pytorch.sh "$@"
prepare torch cost

# Each prints the bench's table; its last line is `tokens N T what seconds peak`.
perk() { "${programs[cost]}" --storage bf16 --matmul-precision "$@"; }
pytorch() { "$python" scripts/peer_meta_step.py --threads "$threads" --dtype "$@"; }

# compare ARGUMENTS: all five in turn.
compare() {
  local run name row
  local -A rows=()
  for ((run = 0; run < repeats; run++)); do
    for name in 'perk medium' 'pytorch bf16' 'perk high' 'perk highest' 'pytorch f32'; do
      # shellcheck disable=SC2086  # Two words.
      row=$(row_of $name "$@")
      rows[$name]+="$row"$'\n'
    done
  done
  line medium bf16
  line high bf16
  line high f32
  line highest f32
}

# line PRECISION TYPE: perk's and PyTorch's rows as one line.
line() {
  local ours theirs
  ours=$(summary <<<"${rows[perk $1]%$'\n'}")
  theirs=$(summary <<<"${rows[pytorch $2]%$'\n'}")
  awk -v precision="$1" -v type="$2" '{ printf "%7s %3s %3s %8s %9s %8.1f %6s %8.1f %7.2f %8.2f %8.2f %7.2f\n",
    $1, $2, $3, $4, precision, $5, type, $11, $5 / $11, $6, $12, $6 / $12 }' <<<"$ours $theirs"
}

echo "threads $threads, median of $repeats; a ratio is perk / PyTorch"
printf '%7s %3s %3s %8s %9s %8s %6s %8s %7s %8s %8s %7s\n' \
  tokens N T what perk seconds torch seconds ratio 'perk GB' 'torch GB' ratio
if ((${#arguments[@]})); then
  compare "${arguments[@]}"
else
  compare --tokens 512 --encode
  compare --tokens 512
fi
