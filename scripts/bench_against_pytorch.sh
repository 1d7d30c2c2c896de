#!/usr/bin/env bash
# Runs `cargo bench --bench cost` and scripts/peer_meta_step.py in turn with equal numbers of threads, and
# prints the medians of their times, their largest peaks, and the ratios.
#
#   scripts/bench_against_pytorch.sh [--repeats 3] [--threads CORES] [--python python3] [ARGUMENTS]
#
# ARGUMENTS go to both: --tokens, --differentiated, --steps, --rank, --segment, --encode. Without any, an encode
# and a meta-step of 512 tokens are run. Every run is a process of its own. Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/in_turn.sh
source scripts/lib/in_turn.sh
parse scripts/bench_against_pytorch.sh "$@"
prepare torch cost

# Each prints the bench's table; its last line is `tokens N T what seconds peak`.
perk() { cargo bench --quiet --bench cost -- "$@"; }
pytorch() { "$python" scripts/peer_meta_step.py --threads "$threads" "$@"; }

compare() {
  in_turn perk "$@" -- pytorch "$@"
  awk '{ printf "%7s %3s %3s %8s %8.1f %8.1f %7.2f %8.2f %8.2f %7.2f\n",
    $1, $2, $3, $4, $5, $11, $5 / $11, $6, $12, $6 / $12 }' <<<"${ours[*]} ${theirs[*]}"
}

echo "threads $threads, median of $repeats; a ratio is perk / PyTorch"
printf '%7s %3s %3s %8s %8s %8s %7s %8s %8s %7s\n' tokens N T what 'perk s' 'torch s' ratio 'perk GB' 'torch GB' ratio
if ((${#arguments[@]})); then
  compare "${arguments[@]}"
else
  compare --tokens 512 --encode
  compare --tokens 512
fi
