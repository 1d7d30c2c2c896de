#!/usr/bin/env bash
# The reasoned answer against the bare one: trains configs/tiny-qa2.toml and configs/tiny-qa3.toml with both targets and
# leaves a table of held-out scores (DIR/table.md). 18 to 22 CPU-minutes a run on an AMD EPYC.
#
#   scripts/compare_targets.sh [--out DIR] [--seeds LIST] [--answer-seeds LIST] [TASK…]
#
# TASK is qa2 or qa3; both if none is given. LIST is as in 0,1,2; the bare answer is trained with the seeds of its own
# list (default: 0). Runs that are finished are not made again. Default DIR: runs/compare-targets.
set -euo pipefail
cd "$(dirname "$0")/.."

out=runs/compare-targets seeds=0,1,2 answer_seeds=0 tasks=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --out) out=${2:?$1 needs a folder}; shift 2 ;;
    --seeds) seeds=${2:?$1 needs a list}; shift 2 ;;
    --answer-seeds) answer_seeds=${2:?$1 needs a list}; shift 2 ;;
    qa2 | qa3) tasks+=("$1"); shift ;;
    *) echo "error: \`$1\` is no option and no task of this script" >&2; exit 2 ;;
  esac
done
((${#tasks[@]})) || tasks=(qa2 qa3)

cargo build --release --locked --quiet
perk=target/release/perk

# train TASK TARGET SEED
train() {
  local room=$out/$1-$2-$3
  [[ -f $room/result.json ]] && return
  rm -rf "$room"
  "$perk" meta-train --config "configs/tiny-$1.toml" --out "$room" --set "data.target=$2" --set "run.seed=$3"
}

for task in "${tasks[@]}"; do
  for seed in ${seeds//,/ }; do train "$task" reasoning "$seed"; done
  for seed in ${answer_seeds//,/ }; do train "$task" answer "$seed"; done
done

python3 - "$out" >"$out/table.md" <<'PYTHON'
import json, pathlib, sys

print("| task | target | seed | train | length | exact match | facts recalled | right with its facts | first wrong step |")
print("|---|---|---|---|---|---|---|---|---|")
percent = lambda share: "" if share is None else f"{100 * share:.1f}"
for path in sorted(pathlib.Path(sys.argv[1]).glob("qa*/result.json")):
    task, target, seed = path.parent.name.split("-")
    result = json.loads(path.read_text())
    for row in result["evaluation"]["rows"]:
        if row["method"] != "perk":
            continue
        support = row.get("support") or {}
        steps = [f"fact {i + 1}: {n}" for i, n in enumerate(support.get("first_faults", [])) if n]
        if support.get("with_more_facts"):
            steps.append(f"more than wanted: {support['with_more_facts']}")
        if support.get("answer_faults"):
            steps.append(f"answer: {support['answer_faults']}")
        print(f"| {task} | {target} | {seed} | {result['train_secs']:.0f} s | {row['cell']['length'] or '1x'} ({row['context_tokens']} tokens)"
              f" | {percent(row['score'])} | {percent(support.get('recall'))} | {percent(support.get('right_with_support'))}"
              f" | {', '.join(steps)} |")
PYTHON
cat "$out/table.md"
