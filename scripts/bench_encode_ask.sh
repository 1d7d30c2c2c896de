#!/usr/bin/env bash
# Runs perk's encode and ask and the same work with transformers and PEFT (scripts/peer_peft.py) in turn with
# equal numbers of threads, and prints the medians of their times, their largest peaks, and the ratios.
#
#   scripts/bench_encode_ask.sh [--repeats 3] [--threads CORES] [--python python3] [ROW...]
#
#   encode:TOKENS         a context written into the adapter by 4 inner steps, a segment at a time
#   whole:TOKENS          the same, PyTorch with all segments in one batch and each layer recomputed
#   ask:PROMPT:NEW        greedy tokens after a prompt: seconds to the first one, then tokens a second
#
# Default: encode:1024 encode:8192 whole:8192 ask:32:64. Every run is a process of its own. Where
# PyTorch runs out of memory, its row says so. Leave the machine alone.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/in_turn.sh
source scripts/lib/in_turn.sh
parse scripts/bench_encode_ask.sh "$@"
((${#arguments[@]})) || arguments=(encode:1024 encode:8192 whole:8192 ask:32:64)
benches=(cost)
for row in "${arguments[@]}"; do
  [[ $row =~ ^((encode|whole):[1-9][0-9]*|ask(:[1-9][0-9]*){2})$ ]] || fail "no row \`$row\`; see --help" 2
  [[ $row != ask:* ]] || benches=(cost ask)
done
prepare peft "${benches[@]}"
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT

# perk BENCH ARGUMENTS
perk() { "${programs[$1]}" "${@:2}"; }

# The peer; `out of memory` and zeros where there is too little. It is the first to be ended by the system then: a
# limit of its memory (ulimit -d) makes its allocator ten times slower.
pytorch() {
  local status=0
  (
    echo 1000 > /proc/self/oom_score_adj || true
    exec "$python" scripts/peer_peft.py --threads "$threads" "$@"
  ) 2>"$messages" || status=$?
  ((status == 0)) && return
  if ((status == 137)) || grep -q "can't allocate memory\|MemoryError\|bad_alloc" "$messages"; then
    echo "0 0 0 0 0"
  else
    cat "$messages" >&2
  fi
}

# line WHAT COLUMN_OF_OURS COLUMN_OF_THEIRS
line() {
  awk -v what="$1" -v ours="${ours[$2]}" -v theirs="${theirs[$3]}" \
    -v our_peak="${ours[-1]}" -v their_peak="${theirs[-1]}" 'BEGIN {
    printf "%-25s %8.2f ", what, ours
    if (their_peak > 0)
      printf "%8.2f %7.2f %8.2f %8.2f %7.2f\n",
        theirs, ours / theirs, our_peak, their_peak, our_peak / their_peak
    else
      printf "%8s %7s %8.2f %s\n", "-", "-", our_peak, "out of memory"
  }'
}

# perk's encodes, columns by tokens: `whole` does not run them again.
declare -A encodes=()

encode() {
  local tokens=$1
  in_turn perk cost --tokens "$tokens" --encode -- pytorch encode --tokens "$tokens" --micro-batch 1
  encodes[$tokens]=${ours[*]}
  line "encode $tokens, s" 4 3
}

whole() {
  local tokens=$1 command=()
  read -ra ours <<<"${encodes[$tokens]-}"
  ((${#ours[@]})) || command=(perk cost --tokens "$tokens" --encode)
  in_turn "${command[@]}" -- pytorch encode --tokens "$tokens" --micro-batch all
  line "encode $tokens whole, s" 4 3
}

ask() {
  local lengths=(--prompt-tokens "$1" --new-tokens "$2")
  in_turn perk ask "${lengths[@]}" -- pytorch ask "${lengths[@]}"
  line "ask $1+$2, first token s" 2 2
  line "ask $1+$2, tokens/s" 3 3
}

echo "threads $threads, median of $repeats; a ratio is perk / PyTorch"
printf '%-25s %8s %8s %7s %8s %8s %7s\n' what perk torch ratio 'perk GB' 'torch GB' ratio
for row in "${arguments[@]}"; do
  IFS=: read -ra words <<<"$row"
  "${words[@]}"
done
