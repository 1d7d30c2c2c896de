#!/usr/bin/env bash
# Makes the tables of docs/evidence.md on the tiny base: trains what they need, asks it, and leaves DIR/SECTION.md.
#
#   scripts/evidence.sh [--out DIR] [--seeds LIST] [--threads N] SECTION…
#
# SECTION is one of
#   length      contexts of up to 1,024 times the trained length, with and without data.background_repeats
#   tasks       qa1, qa2, qa3 and student records, at the trained length, 4 and 16 times it
#   baseline    the fine-tuned baseline with the context in its prompt, of the same tasks
#   ablations   qa1: inner steps, differentiated steps, ranks, rates, token weights, optimiser; DIR/ablations.svg too
# LIST is as in 0,1,2 (the default); N threads compute (default: all). What is finished is not made again. Default DIR:
# runs/evidence.
set -euo pipefail
cd "$(dirname "$0")/.."

out=runs/evidence seeds=0,1,2 sections=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --out) out=${2:?$1 needs a folder}; shift 2 ;;
    --seeds) seeds=${2:?$1 needs a list}; shift 2 ;;
    --threads) export RAYON_NUM_THREADS=${2:?$1 needs a number}; shift 2 ;;
    length | tasks | baseline | ablations) sections+=("$1"); shift ;;
    *) echo "error: \`$1\` is no option and no section of this script" >&2; exit 2 ;;
  esac
done
((${#sections[@]})) || { echo "error: name a section: length, tasks, baseline, ablations" >&2; exit 2; }

perk=${PERK:-target/release/perk}
[[ -n ${PERK:-} ]] || cargo build --release --locked --quiet

# train COMMAND CONFIG NAME SETTING…: one run a seed in DIR/NAME-SEED, unless it is finished.
train() {
  local command=$1 config=$2 name=$3 seed room sets=()
  shift 3
  for setting in "$@"; do sets+=(--set "$setting"); done
  for seed in ${seeds//,/ }; do
    room=$out/$name-$seed
    [[ -f $room/result.json ]] && continue
    rm -rf "$room"
    echo "$name, seed $seed" >&2
    "$perk" "$command" --config "configs/$config.toml" --out "$room" --set "run.seed=$seed" \
      --set "eval.multiples=[1]" --set eval.episodes=64 "${sets[@]}" >"$room.log" 2>&1 ||
      { tail -n 3 "$room.log" >&2; exit 1; }
  done
}

# ask NAME METHOD LENGTHS SAMPLES: held-out questions to the runs of a name, into DIR/asked/NAME-LENGTHS.
ask() {
  local name=$1 method=$2 lengths=$3 samples=$4 seed runs=() flag=--checkpoint
  [[ $method == ft-icr ]] && flag=--finetuned
  for seed in ${seeds//,/ }; do
    "$perk" eval --task held-out "$flag" "$out/$name-$seed/checkpoints/last" --method "$method" --lengths "$lengths" \
      --samples "$samples" --out "$out/asked/$name-$seed-${lengths//,/-}" >"$out/$name-$seed.asked.log" 2>&1 ||
      { tail -n 3 "$out/$name-$seed.asked.log" >&2; exit 1; }
  done
}

# table SECTION NAME…: the scores of the names, a line each; a cell is the mean of the seeds and the range.
table() {
  local section=$1
  shift
  python3 - "$out" "$seeds" "$@" >"$out/$section.md" <<'PYTHON'
import json, pathlib, sys

out, seeds, names = pathlib.Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
cells, columns = {}, {}
for name in names:
    for seed in seeds:
        for path in sorted((out / "asked").glob(f"{name}-{seed}-*/results.json")):
            for row in json.loads(path.read_text())["rows"]:
                length = row["cell"]["length"]
                columns[int(length[:-1])] = max(columns.get(int(length[:-1]), 0), row["samples"])
                cells.setdefault((name, int(length[:-1])), []).append((row["score"], row["context_tokens"]))
order = sorted(columns)
print("| | " + " | ".join(f"{length}×" for length in order) + " |")
print("|---" * (len(order) + 1) + "|")
for name in names:
    shown = []
    for length in order:
        scores = sorted(100 * score for score, _ in cells.get((name, length), []))
        if not scores:
            shown.append("")
        elif len(scores) == 1:
            shown.append(f"{scores[0]:.1f}")
        else:
            shown.append(f"{sum(scores) / len(scores):.1f} ({scores[0]:.1f} to {scores[-1]:.1f})")
    print(f"| {name} | " + " | ".join(shown) + " |")
tokens = {length: max(t for (_, l), all in cells.items() if l == length for _, t in all) for length in order}
print("\n" + "; ".join(f"{length}×: {columns[length]} questions a seed, {tokens[length]:.0f} tokens" for length in order))
PYTHON
  cat "$out/$section.md"
}

mkdir -p "$out"
for section in "${sections[@]}"; do
  names=()
  case $section in
    length)
      train meta-train quickstart length-with
      train meta-train quickstart length-ramp outer.steps=3000 data.background_repeats_ramp=12000
      train meta-train quickstart length-without data.background_repeats=1
      ask length-with perk 1x,4x,16x,64x,256x 128
      ask length-with perk 1024x 40
      ask length-ramp perk 1x,4x,16x,64x,256x 128
      ask length-ramp perk 1024x 40
      ask length-without perk 1x,4x,16x,64x,256x 40
      names=(length-ramp length-with length-without)
      ;;
    tasks)
      train meta-train quickstart qa1
      for task in qa2 qa3 records; do train meta-train "tiny-$task" "$task"; done
      for task in qa1 qa2 qa3 records; do
        ask "$task" perk 1x,4x,16x 500
        names+=("$task")
      done
      ;;
    baseline)
      train finetune quickstart qa1-ft
      for task in qa2 qa3 records; do train finetune "tiny-$task" "$task-ft"; done
      for task in qa1 qa2 qa3 records; do
        ask "$task-ft" ft-icr 1x,4x,16x 500
        names+=("$task-ft")
      done
      ;;
    ablations)
      while read -r name settings; do
        read -ra list <<<"$settings"
        train meta-train quickstart "ablation-$name" "${list[@]}"
        ask "ablation-$name" perk 1x,16x,256x 128
        names+=("ablation-$name")
      done <<'RUNS'
T2
T0 inner.differentiated=0
T1 inner.differentiated=1
T3 inner.differentiated=3
T4 inner.differentiated=4
N1 inner.steps=1 inner.differentiated=1
N2 inner.steps=2 inner.differentiated=2
N8 inner.steps=8 inner.differentiated=2
rank4 lora.rank=4 lora.alpha=2.0
rank8 lora.rank=8 lora.alpha=2.8284271247461903
rank64 lora.rank=64 lora.alpha=8.0
fixed-rates inner.learned_lr=false
no-token-weights inner.head=false
neither inner.learned_lr=false inner.head=false
sgd inner.optimizer="sgd" inner.lr=1.0 inner.clip_norm=1.0
once data.background_repeats=1
RUNS
      ;;
  esac
  table "$section" "${names[@]}"
  [[ $section != ablations ]] || scripts/evidence_chart.py "$out" "$out/ablations.svg" "${names[@]}"
done
