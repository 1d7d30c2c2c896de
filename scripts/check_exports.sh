#!/usr/bin/env bash
# Checks with transformers, PEFT and the package gguf that they open what perk exports and compute the same.
#
#   scripts/check_exports.sh [--require]
#
# The interpreter is $PYTHON, or else python3. Where it lacks a package the check is skipped; with --require that
# is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

require=0
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' scripts/check_exports.sh; exit ;;
    --require) require=1; shift ;;
    *) echo "error: unknown argument \`$1\`" >&2; exit 2 ;;
  esac
done

python=${PYTHON:-python3}
if ! reason=$("$python" -c 'import gguf, numpy, peft, safetensors, torch, transformers' 2>&1); then
  reason="\`$python\` cannot check the exports: ${reason##*$'\n'}"
  advice="pip install -r scripts/requirements.txt, or name another interpreter with PYTHON"
  ((require)) || { echo "skipped: $reason; $advice"; exit 0; }
  echo "error: $reason; $advice" >&2
  exit 1
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PERK_EXPORT_DIR=$folder cargo test --quiet --test export -- --ignored --exact \
  exports_of_every_family_are_written_for_other_programs_to_open
"$python" scripts/check_exports.py "$folder"/*/
