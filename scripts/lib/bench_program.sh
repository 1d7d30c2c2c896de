# Benches as programs; sourced by the bench scripts.
# shellcheck shell=bash

# bench_program NAME: builds a bench and prints the path of its program. Run so, and not by cargo, what is measured stays
# the same in every run, whatever becomes of the sources meanwhile.
bench_program() {
  local built
  built=$(cargo bench --no-run --bench "$1" 2>&1) || { echo "$built" >&2; return 1; }
  sed -n 's/^ *Executable .*(\(.*\))$/\1/p' <<<"$built"
}
