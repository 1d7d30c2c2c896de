#!/usr/bin/env bash
# Kills perk at random moments, lets its writes fail, refuses it memory, starts it twice, and looks whether everything
# is readable afterwards and whether what is taken up again becomes what it would have become. Prints a table of what
# was tried, how often, and how often it failed; exits 1 if anything did.
#
#   scripts/torture.sh [--minutes N] [--cycles N] [--seed N] [--all]
#
# --minutes is what the random tries may take together (5); --cycles how often a context is encoded and asked in one
# process (100; ten thousand take an hour or more); --all lets every single write fail in turn, instead of some. PERK
# names the binary (target/release/perk); the example `cycles` is looked for beside it. Needs bash 5 and, for writes
# that fail, Linux 5.5 and a C compiler.
set -uo pipefail
cd "$(dirname "$0")/.."

minutes=5 cycles=100 seed=1 all=
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --minutes | --cycles | --seed)
      [[ ${2:-} =~ ^[0-9]+$ ]] || { echo "error: $1 needs a number" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    --all) all=1; shift ;;
    *) echo "error: \`$1\` is no option; --help tells which are" >&2; exit 2 ;;
  esac
done
perk=$(realpath "${PERK:-target/release/perk}")
[[ -x $perk ]] || { echo "error: $perk is missing: cargo build --release, or name a binary with PERK" >&2; exit 2; }
RANDOM=$seed
source=$PWD
room=$(mktemp -d)
log=$room/failures.log
declare -A tries failures
declare -a rows

# --- what is tried -----------------------------------------------------------------------------------------------

commands=(meta-train encode eval ask export-peft export-merged export-gguf adapters-rm pretrain)

arguments() {
  case $1 in
    meta-train) echo meta-train --config c.toml --out r ;;
    encode) echo encode --context story.txt --checkpoint whole --store store --out store/one --force ;;
    eval) echo eval --task held-out --lengths 1x --samples 4 --checkpoint whole --out e ;;
    ask) echo ask --adapter kept --questions q.jsonl --out a.jsonl ;;
    export-peft) echo export --adapter kept --format peft --out p ;;
    export-merged) echo export --adapter kept --format merged --out m ;;
    export-gguf) echo export --adapter kept --format gguf-lora --out g ;;
    adapters-rm) echo adapters rm one --store doomed ;;
    pretrain) echo pretrain --config base.toml --out b ;;
  esac
}

# What a command makes.
product() {
  case $1 in
    meta-train) echo r ;;
    encode) echo store/one ;;
    eval) echo e ;;
    ask) echo a.jsonl ;;
    export-peft) echo p ;;
    export-merged) echo m ;;
    export-gguf) echo g ;;
    adapters-rm) echo doomed/one ;;
    pretrain) echo b ;;
  esac
}

# run COMMAND [WRAPPER...]: in the folder of the try. What has not ended after two minutes hangs. The status goes through a
# file, from a shell that has had no other child: this one has had thousands, some of the same number, and has been seen to
# take a status of 1 for 0.
run() {
  local command=$1 status
  shift
  rm -f "$room/status"
  (
    cd "$room/try" || exit
    # shellcheck disable=SC2046  # Arguments without spaces.
    timeout --kill-after 5 120 "$@" "$perk" $(arguments "$command") >"$room/out" 2>&1
    echo $? >"$room/status"
  )
  status=$(<"$room/status")
  ((status != 124 && status != 137)) || echo "it hangs" >>"$room/out"
  return "$status"
}

# Numbers that differ from run to run.
timeless() { sed -E 's/"(inner_secs|tokens_per_sec|peak_bytes|[a-z_]*secs)": ?[^,}]*//g' "$1"; }

same_file() { cmp -s "$1" "$2" || diff -q <(timeless "$1") <(timeless "$2") >/dev/null; }

same_lines() { diff -q <(timeless "$1" | sort) <(timeless "$2" | sort) >/dev/null; }

# Whether what COMMAND made is what it makes undisturbed.
is_right() {
  local product file found=$room/try whole=$room/reference
  product=$(product "$1")
  case $1 in
    adapters-rm) [[ ! -e $found/$product ]]; return ;;
    eval) same_lines "$found/e/samples.jsonl" "$whole/e/samples.jsonl" && [[ -f $found/e/results.json ]]; return ;;
    meta-train)
      for file in meta.safetensors adapter_model.safetensors adapter_config.json; do
        cmp -s "$found/r/checkpoints/last/$file" "$whole/r/checkpoints/last/$file" || return
      done
      same_file "$found/r/metrics.jsonl" "$whole/r/metrics.jsonl" && same_file "$found/r/result.json" "$whole/r/result.json"
      return ;;
  esac
  if [[ -f $whole/$product ]]; then
    same_file "$found/$product" "$whole/$product"
    return
  fi
  [[ $(ls "$found/$product") == "$(ls "$whole/$product")" ]] || return
  for file in "$whole/$product"/*; do
    same_file "$found/$product/${file##*/}" "$file" || return
  done
}

# Ends what was disturbed, as a person would.
finish() {
  case $1 in
    meta-train)
      (cd "$room/try" && "$perk" meta-train --resume r) >"$room/out" 2>&1 && return
      grep -qE 'start the run again|nothing to continue|no run to continue' "$room/out" && run meta-train ;;
    export-*) [[ -e $room/try/$(product "$1") ]] || run "$1" ;;
    adapters-rm) run adapters-rm || grep -q 'no such adapter\|no store here' "$room/out" ;;
    *) run "$1" ;;
  esac
}

# Every adapter opens and is whole, whatever has happened.
is_readable() {
  local command=$1 store
  for store in adapters store doomed; do
    [[ $command == adapters-rm && $store == doomed ]] && continue
    (cd "$room/try" && "$perk" adapters verify --store "$store") >"$room/out" 2>&1 || return
  done
  [[ ! -d $room/try/r/checkpoints/last || $command != meta-train ]] ||
    (cd "$room/try" && "$perk" encode --context story.txt --checkpoint r --store other --force) >"$room/out" 2>&1
}

# --- bookkeeping -------------------------------------------------------------------------------------------------

note() { # note WHAT OK [REASON]
  [[ -v tries[$1] ]] || { rows+=("$1"); tries[$1]=0 failures[$1]=0; }
  tries[$1]=$((tries[$1] + 1))
  if [[ $2 != 0 ]]; then
    failures[$1]=$((failures[$1] + 1))
    { echo "== $1, try ${tries[$1]}: ${3:-}"; tail -n 50 "$room/out"; } >>"$log"
  fi
}

begin() { rm -rf "$room/try" && cp -r "$room/start" "$room/try"; }

# settle WHAT COMMAND: looks at what a disturbance has left, and ends it.
settle() {
  local said
  said=$(<"$room/out")
  if [[ $said == *panicked* || $said == *"it hangs" ]]; then note "$1" 1 "panicked, or hangs"
  elif ! is_readable "$2"; then note "$1" 1 "not readable"
  elif ! finish "$2"; then note "$1" 1 "cannot be taken up again"
  elif ! is_right "$2"; then note "$1" 1 "has become something else"
  else note "$1" 0; fi
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

pause() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

# Up to 2^30, which one RANDOM is too small for.
below() { echo $(((RANDOM << 15 | RANDOM) % $1)); }

# --- the room ----------------------------------------------------------------------------------------------------

prepare() {
  local command began
  mkdir -p "$room/start"
  cd "$room/start" || exit 2
  mkdir data && cp -r "$source/data/tiny-base" "$source/data/story" data/
  head -c 700 data/story/story.txt >story.txt
  printf '{"question": "Where is %s?"}\n' Mary John Daniel Sandra >q.jsonl
  cat >c.toml <<'TOML'
[model]
base = "data/tiny-base"
[lora]
rank = 2
alpha = 2.0
[inner]
steps = 2
differentiated = 1
eps_root = 1e-12
lr = 0.01
head_hidden = 4
reduction = "constant"
[outer]
steps = 10
episodes_per_step = 2
lr = 3e-3
warmup_steps = 2
[data]
context_tokens = 40
segment_tokens = 24
number_offset_max = 5
prompt = "Question: {question} Answer: {answer}"
[eval]
every = 3
episodes = 4
episodes_during = 2
multiples = [1]
max_new_tokens = 3
[run]
dir = "runs/numbered"
checkpoint_every = 1
TOML
  cat >base.toml <<'TOML'
[model]
hidden_size = 16
intermediate_size = 24
num_layers = 1
num_heads = 2
num_kv_heads = 1
[train]
steps = 4
batch = 2
sequence_tokens = 32
warmup_steps = 1
TOML
  {
    "$perk" meta-train --config c.toml --out whole --set outer.steps=4 &&
      "$perk" encode --context story.txt --checkpoint whole --out adapters/kept &&
      "$perk" encode --context story.txt --checkpoint whole --out store/one --steps 1 &&
      "$perk" encode --context story.txt --checkpoint whole --out doomed/one &&
      "$perk" pretrain --config base.toml --out b --set train.seed=1
  } >"$room/out" 2>&1 || { tail "$room/out" >&2; echo "error: the undisturbed commands fail" >&2; exit 2; }
  cd "$source" || exit 2
  begin
  declare -gA takes
  for command in "${commands[@]}"; do
    began=$(milliseconds)
    run "$command" || { cat "$room/out" >&2; echo "error: $command fails undisturbed" >&2; exit 2; }
    takes[$command]=$(($(milliseconds) - began))
  done
  mv "$room/try" "$room/reference"
}

# --- disturbances ------------------------------------------------------------------------------------------------

# Killed at a random moment; a run of meta-train up to three times.
kills() {
  local command=$1 process kills
  begin
  kills=1
  [[ $command == meta-train ]] && kills=$((1 + RANDOM % 3))
  for ((; kills > 0; kills--)); do
    # shellcheck disable=SC2046  # Arguments without spaces.
    if [[ -d $room/try/r/checkpoints/last ]]; then
      (cd "$room/try" && exec "$perk" meta-train --resume r) >"$room/out" 2>&1 &
    else
      (cd "$room/try" && exec "$perk" $(arguments "$command")) >"$room/out" 2>&1 &
    fi
    process=$!
    pause "$(below $((takes[$command] + 20)))"
    kill -KILL "$process" 2>/dev/null
    wait "$process" 2>/dev/null
  done
  settle "kill: $command" "$command"
}

# writes COMMAND ERROR +|"": one write, sync, rename or new file fails, or all from one on.
writes() {
  local command=$1 error=$2 on=$3 count nth what
  what="$error${on:+ from then on}: $command"
  begin
  FAIL_AT_COUNT=$room/count run "$command" "$room/fail_at" 0 EIO "$room/try" || { note "$what" 1 "fails undisturbed"; return; }
  count=$(<"$room/count")
  local step=1
  # Eight moments, evenly spread from a random one, or all.
  [[ $all ]] || step=$(((count + 7) / 8))
  for ((nth = 1 + RANDOM % step; nth <= count; nth += step)); do
    begin
    if run "$command" "$room/fail_at" "$nth$on" "$error" "$room/try"; then
      # What failed was no harm; what was made is right.
      if is_right "$command"; then note "$what" 0; else note "$what" 1 "write $nth of $count failed unnoticed"; fi
      continue
    fi
    settle "$what" "$command"
  done
}

memory() {
  local command=$1 kilobytes
  begin
  kilobytes=$((60000 + $(below 1500000)))
  # shellcheck disable=SC2016  # For the inner shell.
  run "$command" bash -c 'ulimit -v "$0" && exec "$@"' "$kilobytes"
  # Where there is no memory Rust ends the process, at once and by intention.
  settle "memory refused: $command" "$command"
}

# Two of one command at once in one folder: one writes, the other waits its turn or is told.
pairs() {
  local command=$1 first second one=0 two=0 refusal
  begin
  # shellcheck disable=SC2046  # Arguments without spaces.
  (cd "$room/try" && exec "$perk" $(arguments "$command")) >"$room/out" 2>&1 &
  first=$!
  # shellcheck disable=SC2046  # Arguments without spaces.
  (cd "$room/try" && exec "$perk" $(arguments "$command")) >"$room/out2" 2>&1 &
  second=$!
  wait "$first" || one=$?
  wait "$second" || two=$?
  refusal='another process is writing|exists: name a new|no such adapter|holds a run of'
  if ((one && two)); then note "two at once: $command" 1 "both failed"
  elif ((one)) && ! grep -qE "$refusal" "$room/out"; then note "two at once: $command" 1 "no clear refusal"
  elif ((two)) && ! grep -qE "$refusal" "$room/out2"; then note "two at once: $command" 1 "no clear refusal"
  elif ! is_readable "$command" || ! is_right "$command"; then note "two at once: $command" 1 "has become something else"
  else note "two at once: $command" 0; fi
}

# Runs whose folders perk names get one each.
numbered() {
  local process processes=() ok=0
  begin
  for _ in 1 2 3; do
    (cd "$room/try" && exec "$perk" meta-train --config c.toml --set outer.steps=2) >"$room/out" 2>&1 &
    processes+=($!)
  done
  for process in "${processes[@]}"; do wait "$process" || ok=1; done
  [[ $(ls "$room/try/runs") == $'numbered\nnumbered-2\nnumbered-3' ]] || ok=1
  note "three at once: meta-train without --out" "$ok" "not three runs"
}

encode_and_ask() {
  local example
  example=$(dirname "$perk")/examples/cycles
  if [[ ! -x $example ]]; then
    echo "note: $example is missing (cargo build --release --example cycles)" >"$room/out"
    note "encode and ask, $cycles cycles" 1 "not tried"
    return
  fi
  begin
  (cd "$room/try" && "$example" whole story.txt cycles "$cycles" "Where is Mary?") >"$room/out" 2>&1
  note "encode and ask, $cycles cycles" $? "grew"
  awk 'NF == 3 && $1 + 0 {printf "  %6d cycles: %d MB, %d open files\n", $1, $2 / 1e6, $3}' "$room/out" >&2
}

# --- all of it ---------------------------------------------------------------------------------------------------

prepare
deadline=$(($(date +%s) + minutes * 60))
can_fail=
if cc -O1 -o "$room/fail_at" scripts/lib/fail_at.c 2>"$room/out" && begin &&
  "$room/fail_at" 0 EIO "$room/try" true 2>>"$room/out"; then
  can_fail=1
else
  note "writes that fail" 1 "not tried: $(tail -n 1 "$room/out")"
fi
for command in "${commands[@]}"; do pairs "$command"; done
numbered
((cycles)) && encode_and_ask
if [[ $can_fail ]]; then
  for command in "${commands[@]}"; do
    writes "$command" EIO ""
    writes "$command" ENOSPC "+"
  done
fi
while :; do
  for command in "${commands[@]}"; do
    kills "$command"
    ((RANDOM % 4)) || memory "$command"
  done
  (($(date +%s) < deadline)) || break
done

total=0
printf '%-48s %8s %8s\n' what tries failures
for row in "${rows[@]}"; do
  printf '%-48s %8d %8d\n' "$row" "${tries[$row]}" "${failures[$row]}"
  total=$((total + failures[$row]))
done
if ((total)); then
  cat "$log" >&2
  echo "$total failures; what the last try left is in $room" >&2
  exit 1
fi
rm -rf "$room"
