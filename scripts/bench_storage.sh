#!/usr/bin/env bash
# What it costs to keep a GGUF base in its blocks: load, encode and one meta-step, beside the same base dequantised to
# other types.
#
#   scripts/bench_storage.sh [--repeats 3] [--tokens 1024] [--storages "bf16 as_stored"] BASE...
#
# Prints a row for each base, work and storage: seconds to load, memory of the matrices, seconds (the median of the
# repeats; each is a process of its own) and the largest peak of the process, then the ratios to the first storage.
# encode is 4 inner steps over the tokens in segments of 256; meta is a meta-step of as many, 2 of them differentiated.
# Leave the machine alone.
set -euo pipefail
cd "$(dirname "$0")/.."

repeats=3 tokens=1024 storages="bf16 as_stored" bases=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' scripts/bench_storage.sh; exit ;;
    --repeats) repeats=$2; shift 2 ;;
    --tokens) tokens=$2; shift 2 ;;
    --storages) storages=$2; shift 2 ;;
    -*) echo "error: unknown argument \`$1\`" >&2; exit 2 ;;
    *) bases+=("$1"); shift ;;
  esac
done
((${#bases[@]})) || { echo "error: name a base; see --help" >&2; exit 2; }

# shellcheck source=scripts/lib/bench_program.sh
source scripts/lib/bench_program.sh
cost=$(bench_program cost)
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
for base in "${bases[@]}"; do
  for work in encode meta; do
    for ((n = 0; n < repeats; n++)); do
      # In turn, so that a slow moment hits all of them alike.
      for storage in $storages; do
        arguments=(--json --base "$base" --storage "$storage" --tokens "$tokens")
        [[ $work == meta ]] || arguments+=(--encode)
        echo "$base $work $storage $("$cost" "${arguments[@]}")" >>"$rows"
      done
    done
  done
done
python3 - "$rows" <<'PYTHON'
import json, sys
from pathlib import Path
from statistics import median

runs = {}
for line in open(sys.argv[1]):
    base, work, storage, row = line.split(" ", 3)
    runs.setdefault((Path(base).name, work), {}).setdefault(storage, []).append(json.loads(row))
print(f"{'base':40} {'work':7} {'storage':10} {'load s':>7} {'matrices GB':>12} {'seconds':>9} {'peak GB':>8}  ratios of matrices, seconds, peak")
for (base, work), storages in runs.items():
    first = None
    for storage, rows in storages.items():
        own = {key: median(row[key] for row in rows) for key in ("load_secs", "matrices_gb", "seconds")}
        own["peak"] = max(row["host_peak_gb"] for row in rows)
        first = first or own
        ratios = " ".join(f"{own[key] / first[key]:5.2f}" for key in ("matrices_gb", "seconds", "peak"))
        print(f"{base[:40]:40} {work:7} {storage:10} {own['load_secs']:7.1f} {own['matrices_gb']:12.3f} {own['seconds']:9.2f} {own['peak']:8.2f}  {ratios}")
PYTHON
