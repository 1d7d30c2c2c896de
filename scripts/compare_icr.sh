#!/usr/bin/env bash
# PERK against the fine-tuned in-context baseline over length and position: for each task trains both on the same
# episodes at the trained length, asks both (and the base with the context in its prompt) at up to 16 times that
# length, and leaves a table (DIR/table.md) and pictures (DIR/pictures). Less than half an hour on two cores.
#
#   scripts/compare_icr.sh [--out DIR] [--samples N] [--seed S] [TASK…]
#
# TASK is any of qa1, qa2, qa3, student-records; all but qa3 if none is given. qa2 and qa3 are trained and asked with
# their facts (docs/reasoning.md), by both methods. What is there already is not made again.
# Default DIR: runs/compare-icr.
set -euo pipefail
cd "$(dirname "$0")/.."

out=runs/compare-icr samples=100 seed=0 tasks=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --out | --samples | --seed) printf -v "${1#--}" %s "${2:?$1 needs a value}"; shift 2 ;;
    qa1 | qa2 | qa3 | student-records) tasks+=("$1"); shift ;;
    *) echo "error: \`$1\` is no option and no task of this script" >&2; exit 2 ;;
  esac
done
((${#tasks[@]})) || tasks=(qa1 qa2 student-records)

declare -A config=([qa1]=quickstart [qa2]=tiny-qa2 [qa3]=tiny-qa3 [student-records]=tiny-records)

cargo build --release --locked --quiet
perk=target/release/perk

# train COMMAND CONFIG FOLDER: a run that is finished is kept.
train() {
  [[ -f $3/result.json ]] && return
  rm -rf "$3"
  "$perk" "$1" --config "$2" --out "$3" --set "run.seed=$seed" --set eval.every=0 --set eval.episodes=8 --set "eval.multiples=[1]"
}

# Mean exact match in percent of every method, length and position of one task's results.csv, as rows of a table.
rows_of() {
  awk -F, -v task="$1" '
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    {
      key = $column["method"] "," $column["position"]
      if (!(key in seen)) { order[++count] = key; seen[key] = 1 }
      score[key, $column["length"]] = 100 * $column["score"]
    }
    END {
      split("1x 2x 4x 8x 16x", lengths, " ")
      for (k = 1; k <= count; k++) {
        split(order[k], part, ",")
        printf "| %s | %s | %s |", task, part[1], part[2]
        for (l = 1; l <= 5; l++) printf " %.0f |", score[order[k], lengths[l]]
        print ""
      }
    }' "$2"
}

mkdir -p "$out/pictures"
{
  echo "| task | method | facts | 1× | 2× | 4× | 8× | 16× |"
  echo "|---|---|---|---|---|---|---|---|"
} >"$out/table.md.new"
for task in "${tasks[@]}"; do
  file=configs/${config[$task]}.toml room=$out/$task
  train meta-train "$file" "$room/perk"
  train finetune "$file" "$room/ft-icr"
  # Each sample is kept: an evaluation that was cut off goes on.
  "$perk" eval --task held-out --method perk,ft-icr,icr --checkpoint "$room/perk" --finetuned "$room/ft-icr" \
    --lengths 1x,2x,4x,8x,16x --position random,pre,mid,post --samples "$samples" --seed "$seed" \
    --out "$room/evaluation"
  rows_of "$task" "$room/evaluation/results.csv" >>"$out/table.md.new"
  for picture in over_length_random over_position; do
    cp "$room/evaluation/pictures/$picture.svg" "$out/pictures/$task-$picture.svg"
  done
done
mv "$out/table.md.new" "$out/table.md"
cat "$out/table.md"
