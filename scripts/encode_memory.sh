#!/usr/bin/env bash
# Peak memory of `perk encode` at growing lengths of the context.
#
#   scripts/encode_memory.sh [--text FILE] [--bytes "18000 150000 1200000"] [-- ARGUMENTS]
#
# Encodes the first so many bytes of FILE (over and over from its start; the story in data/ if none is given), each
# in a process of its own, and prints what the records say. ARGUMENTS go to perk encode; without any, the newest
# run in runs/ is the checkpoint, as after the quickstart.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."

text=data/story/story.txt sizes="18000 150000 1200000"
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$here/encode_memory.sh"; exit ;;
    --text | --bytes)
      (($# > 1)) || { echo "error: $1 needs a value" >&2; exit 2; }
      if [[ $1 == --text ]]; then text=$2; else sizes=$2; fi
      shift 2 ;;
    --) shift; break ;;
    *) echo "error: unknown argument \`$1\`; arguments of perk encode go after --" >&2; exit 2 ;;
  esac
done
[[ -s $text ]] || { echo "error: $text is not there or empty" >&2; exit 1; }
[[ $sizes =~ ^[0-9]+(\ +[0-9]+)*$ ]] || { echo "error: \`$sizes\` is no list of sizes in bytes" >&2; exit 2; }

cargo build --quiet --release
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
length=$(wc -c < "$text")

# The number that stands behind a key of the record.
number() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),\{0,1\}$/\1/p" "$room/adapter/perk.json" | head -n 1; }

printf '%10s %10s %10s %10s %10s\n' bytes tokens segments tokens/s 'peak GB'
for size in $sizes; do
  : > "$room/context.txt"
  for ((written = 0; written < size; written += length)); do cat "$text" >> "$room/context.txt"; done
  # A character that the cut takes apart would be no text.
  head -c "$size" "$room/context.txt" | iconv -c -f UTF-8 -t UTF-8 > "$room/cut.txt"
  target/release/perk encode --context "$room/cut.txt" --out "$room/adapter" --force "$@" > "$room/log" 2>&1 ||
    { cat "$room/log" >&2; exit 1; }
  printf '%10d %10d %10d %10.0f %10.3f\n' "$size" "$(number tokens)" "$(number segments)" \
    "$(number tokens_per_sec)" "$(awk "BEGIN { print $(number peak_bytes) / 1e9 }")"
done
