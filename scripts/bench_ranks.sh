#!/usr/bin/env bash
# Times meta-training steps and an encoding in several processes of one thread beside one process of as many threads, in
# turn, and prints the medians.
#
#   scripts/bench_ranks.sh --base GGUF|FOLDER --config FILE --context FILE [--ranks 2] [--repeats 3] [--steps 3]
#                          [--micro-batch 8]
#
# A step's seconds are the median of those in metrics.jsonl but the first, an encoding's are those of its inner steps. PERK
# names the program, which must be built with `--features mpi`; without it cargo builds one. Leave the machine alone
# meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."

base='' config='' context='' ranks=2 repeats=3 steps=3 batch=8
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --base | --config | --context | --ranks | --repeats | --steps)
      (($# > 1)) || { echo "error: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    --micro-batch) batch=${2:?$1 needs a number}; shift 2 ;;
    *) echo "error: unknown argument $1" >&2; exit 2 ;;
  esac
done
[[ $base && $config && $context ]] || { echo "error: --base, --config and --context are needed" >&2; exit 2; }
if [[ -z ${PERK:-} ]]; then
  cargo build --release --locked --features mpi --quiet
  PERK=target/release/perk
fi
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
root=()
[[ $(id -u) != 0 ]] || root=(--allow-run-as-root)

# run RANKS THREADS ARGUMENT…
run() {
  local count=$1 threads=$2
  shift 2
  RAYON_NUM_THREADS=$threads mpirun "${root[@]}" --oversubscribe --bind-to none --quiet -n "$count" \
    "$PERK" "$@" >"$room/log" 2>&1 || { tail -n 5 "$room/log" >&2; exit 1; }
}

# train RANKS THREADS: seconds of a step of as many episodes as there are ranks.
train() {
  rm -rf "$room/run"
  run "$1" "$2" meta-train --config "$config" --base "$base" --out "$room/run" --set "outer.steps=$steps" \
    --set "outer.episodes_per_step=$ranks" --set outer.parallel_episodes=1 --set eval.every=0 --set eval.episodes=1 \
    --set "eval.multiples=[1]" --set run.checkpoint_every=0 --set outer.warmup_steps=1
  python3 -c 'import json,statistics,sys
steps = [json.loads(line) for line in open(sys.argv[1])]
print(statistics.median([step["secs"] for step in steps if step["kind"] == "step"][1:]))' "$room/run/metrics.jsonl"
}

# encode RANKS THREADS: seconds of the inner steps.
encode() {
  run "$1" "$2" encode --untrained "$config" --base "$base" --context "$context" --micro-batch "$batch" --force \
    --out "$room/adapter"
  python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["cost"]["inner_secs"])' "$room/adapter/perk.json"
}

median() { sort -n | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'; }

printf '%-8s %24s %24s %7s\n' what "1 rank, $ranks threads" "$ranks ranks, 1 thread" ratio
for what in train encode; do
  one='' many=''
  for ((nth = 0; nth < repeats; nth++)); do
    one+=$($what 1 "$ranks")$'\n'
    many+=$($what "$ranks" 1)$'\n'
  done
  a=$(printf %s "$one" | median) b=$(printf %s "$many" | median)
  awk -v what=$what -v a="$a" -v b="$b" 'BEGIN { printf "%-8s %22.3f s %22.3f s %7.2f\n", what, a, b, b / a }'
done
