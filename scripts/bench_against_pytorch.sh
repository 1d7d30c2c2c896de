#!/usr/bin/env bash
# Runs `cargo bench --bench cost` and scripts/peer_meta_step.py in turn with equal numbers of threads, and
# prints the medians of their times, their largest peaks, and the ratios.
#
#   scripts/bench_against_pytorch.sh [--repeats 3] [--threads CORES] [--python python3] [ARGUMENTS]
#
# ARGUMENTS go to both: --tokens, --differentiated, --steps, --rank, --segment, --encode. Without any, an encode
# and a meta-step of 512 tokens are run. Every run is a process of its own. Leave the machine alone meanwhile.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."

repeats=3 threads=$(nproc) python=python3 arguments=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$here/bench_against_pytorch.sh"; exit ;;
    --repeats | --threads | --python)
      (($# > 1)) || { echo "error: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done
for count in "$repeats" "$threads"; do
  [[ $count =~ ^[1-9][0-9]*$ ]] || { echo "error: \`$count\` is not a number of repeats or threads" >&2; exit 2; }
done
command -v cargo >/dev/null || { echo "error: cargo is missing: https://rustup.rs" >&2; exit 1; }
if ! reason=$("$python" -c 'import torch' 2>&1); then
  echo "error: PyTorch is missing from \`$python\`: ${reason##*$'\n'}" >&2
  echo "       pip install -r scripts/requirements.txt, or name another interpreter with --python" >&2
  exit 1
fi

export RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads

# Each prints the bench's table; its last line is `tokens N T what seconds peak`.
perk() { cargo bench --quiet --bench cost -- "$@"; }
pytorch() { "$python" scripts/peer_meta_step.py --threads "$threads" "$@"; }

# The last line of one run; stops everything if it is not a row.
row_of() {
  local row
  row=$("$@" | tail -n 1)
  if ! [[ $row =~ ^\ *[0-9]+\ +[0-9]+\ +[0-9]+\ +(meta|encode)\ +[0-9.]+\ +[0-9.]+$ ]]; then
    echo "error: \`$*\` printed no row, but: $row" >&2
    exit 1
  fi
  echo "$row"
}

# Median of the seconds and largest peak of the rows on standard input.
summary() {
  sort -n -k 5,5 | awk '{ s[NR] = $5; if ($6 > peak) peak = $6; row = sprintf("%7s %3s %3s %8s", $1, $2, $3, $4) }
    END { m = NR % 2 ? s[(NR + 1) / 2] : (s[NR / 2] + s[NR / 2 + 1]) / 2; print row, m, peak }'
}

compare() {
  local ours=() theirs=() row
  for ((run = 0; run < repeats; run++)); do
    row=$(row_of perk "$@"); ours+=("$row")
    row=$(row_of pytorch "$@"); theirs+=("$row")
  done
  paste -d ' ' <(printf '%s\n' "${ours[@]}" | summary) <(printf '%s\n' "${theirs[@]}" | summary) |
    awk '{ printf "%7s %3s %3s %8s %8.1f %8.1f %7.2f %8.2f %8.2f %7.2f\n",
      $1, $2, $3, $4, $5, $11, $5 / $11, $6, $12, $6 / $12 }'
}

cargo bench --quiet --bench cost --no-run
echo "threads $threads, median of $repeats; a ratio is perk / PyTorch"
printf '%7s %3s %3s %8s %8s %8s %7s %8s %8s %7s\n' tokens N T what 'perk s' 'torch s' ratio 'perk GB' 'torch GB' ratio
if ((${#arguments[@]})); then
  compare "${arguments[@]}"
else
  compare --tokens 512 --encode
  compare --tokens 512
fi
