#!/usr/bin/env bash
# Looks for races and stray reads in the CUDA kernels, without a GPU: compiled for the CPU behind host.h, every kernel
# runs in all its types on small and odd shapes, each buffer alone in memory, under GCC's sanitizers.
#
#   scripts/check-kernels.sh               less than a minute on two cores
#   scripts/check-kernels.sh --self-test   kernels with faults on purpose: each must be found
#
#   memory   AddressSanitizer and UBSan; the threads of a block are fibers, blocks also run alone
#   card     the same with warps of 32, as a card has them
#   races    ThreadSanitizer; the threads of a block are threads
#   jumps    UBSan alone, optimised and with fortified headers: fibers then jump, as they do in the tests
#
# What this machine cannot run is skipped, and said so. Shared memory that is read before it is written, and a stray
# read that ends in another buffer, are not found.
set -euo pipefail
cd "$(dirname "$0")/.."

self_test=
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' scripts/check-kernels.sh; exit ;;
    --self-test) self_test=1; shift ;;
    *) echo "error: \`$1\` is no option; --help tells which are" >&2; exit 2 ;;
  esac
done
if ! command -v g++ >/dev/null; then
  echo "skipped: the check of the kernels, for g++ is missing (Debian: g++)"
  exit
fi

sources=src/autodiff/fused/cuda/check room=$PWD/target/check-kernels
mkdir -p "$room"
# A hang is a fault too.
limit_secs=300
# The check ends without giving back its memory, and the first race is enough.
export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=1
declare -A flags=(
  # Without optimisation, which would leave out reads that nobody uses.
  [memory]="-O0 -fsanitize=address,undefined -fno-sanitize-recover=all"
  [card]="-O0 -fsanitize=address,undefined -fno-sanitize-recover=all -DWARP=32"
  [races]="-O1 -fsanitize=thread -DHOST_THREADS"
  # Some systems fortify whatever is optimised.
  [jumps]="-O1 -fsanitize=undefined -fno-sanitize-recover=all -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"
)

compile() { # WAY SOURCE PROGRAM
  # shellcheck disable=SC2086 # Flags are words.
  g++ -std=c++17 -g -pthread ${flags[$1]} -Wall -Wno-unknown-pragmas -Wno-unused-variable -Werror -o "$3" "$2"
}

# What a program of a way must be run by. Where memory is laid out too much at random, sanitizers fail now and then:
# setarch has that stopped, if the system lets it.
runner() { # WAY
  local probe=$room/probe-$1 run
  echo 'int main() {}' >"$probe.cpp"
  compile "$1" "$probe.cpp" "$probe" 2>"$probe.log" || return 1
  for run in "setarch -R" env; do
    if $run "$probe" 2>"$probe.log"; then
      echo "$run"
      return
    fi
  done
  return 1
}

# Compiles a source and leaves its program and what runs it.
prepare() { # WAY SOURCE
  local run
  if ! run=$(runner "$1"); then
    echo "skipped: the check of the kernels for $1, for g++ ${flags[$1]} does not work (Debian: libasan8, libubsan1," \
      "libtsan2): $(tail -n 1 "$room/probe-$1.log")"
    return
  fi
  compile "$1" "$sources/$2.cpp" "$room/$2-$1"
  echo "$run" >"$room/$2-$1.run"
}

run() { # PROGRAM ARGUMENTS...
  local program=$1
  shift
  # shellcheck disable=SC2046 # Words.
  timeout "$limit_secs" $(cat "$program.run") "$program" "$@"
}

all_kernels_ran() { # PROGRAM
  local all
  all=$(nm --defined-only "$1" | grep -cE ' T [a-z0-9_]+_f(32|64)(_dual)?$')
  grep -q " of $all kernels$" "$1.log" && return
  echo "error: there are $all kernels; those that did not run need a line in $sources/" >&2
  return 1
}

check() { # WAY
  local program=$room/main-$1 status=0
  rm -f "$program.run"
  prepare "$1" main
  [[ -f $program.run ]] || return 0
  run "$program" >"$program.log" 2>&1 || status=$?
  if ((status == 0)); then
    echo "kernels, $1: $(tail -n 1 "$program.log"), nothing found"
    all_kernels_ran "$program"
    return
  fi
  head -n 60 "$program.log" >&2
  ((status == 124)) && echo "error: a kernel did not end within $limit_secs seconds" >&2
  echo "error: the check of the kernels for $1 found what stands above; all of it: $program.log" >&2
  return 1
}

# One line for each wrong kernel: what must be said of it.
faults() { # WAY
  case $1 in
    memory) cat <<'END' ;;
read_beyond heap-buffer-overflow
write_beyond heap-buffer-overflow
overflow signed integer overflow
unwritten not written
infinite not finite
shared_by_blocks as a block before it does
overwrites which is to stay
differs_by_block but not the same
needs_other_block needs what another block writes
END
    races) cat <<'END' ;;
missing_barrier data race
shared_place data race
read_across_shuffle data race
barrier_for_some another thread leaves out
END
    jumps) cat <<'END' ;;
overflow signed integer overflow
unwritten not written
needs_other_block needs what another block writes
END
  esac
}

self_test() { # WAY
  local program=$room/wrong-$1 log=$room/wrong-$1.log found=0 kernel words
  rm -f "$program.run"
  prepare "$1" wrong
  [[ -f $program.run ]] || return 0
  if ! run "$program" right >"$log" 2>&1; then
    head -n 60 "$log" >&2
    echo "error: the check for $1 finds something in a kernel without fault" >&2
    return 1
  fi
  while read -r kernel words; do
    if run "$program" "$kernel" >"$log" 2>&1 || ! grep -qF "$words" "$log"; then
      echo "error: the check for $1 does not say \"$words\" of the wrong kernel \`$kernel\`; it says:" >&2
      head -n 20 "$log" >&2
      return 1
    fi
    found=$((found + 1))
  done < <(faults "$1")
  echo "kernels with faults, $1: all $found found"
}

# Ways run beside each other.
ways=(memory card races jumps) task=check
[[ -z $self_test ]] || { ways=(memory races jumps) task=self_test; }
running=() failed=0
for way in "${ways[@]}"; do
  "$task" "$way" &
  running+=($!)
done
for process in "${running[@]}"; do
  wait "$process" || failed=1
done
exit "$failed"
