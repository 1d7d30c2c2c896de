# Runs perk's benches and PyTorch in turn with equal numbers of threads; sourced by the bench scripts.
# shellcheck shell=bash disable=SC2034  # The scripts read `ours`, `theirs` and `programs`.

# shellcheck source=scripts/lib/bench_program.sh
source scripts/lib/bench_program.sh

repeats=3 threads=$(nproc) python=python3 arguments=() ours=() theirs=()
declare -A programs

fail() {
  echo "error: $1" >&2
  exit "${2:-1}"
}

# The comment at the head of a script.
help_of() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$1"; }

# parse SCRIPT "$@": sets repeats, threads and python; what is left goes to `arguments`.
parse() {
  local script=$1
  shift
  while (($#)); do
    case $1 in
      -h | --help) help_of "$script"; exit ;;
      --repeats | --threads | --python)
        (($# > 1)) || fail "$1 needs a value" 2
        printf -v "${1#--}" %s "$2"
        shift 2 ;;
      *) arguments+=("$1"); shift ;;
    esac
  done
  local count
  for count in "$repeats" "$threads"; do
    [[ $count =~ ^[1-9][0-9]*$ ]] || fail "\`$count\` is not a number of repeats or threads" 2
  done
}

# prepare MODULE BENCH...: stops if cargo or one of Python's modules is missing; builds the benches,
# whose programs go to `programs`.
prepare() {
  local module=$1 bench reason
  shift
  command -v cargo >/dev/null || fail "cargo is missing: https://rustup.rs"
  if ! reason=$("$python" -c "import $module" 2>&1); then
    fail "\`$python\` cannot import $module: ${reason##*$'\n'}
       pip install -r scripts/requirements.txt, or name another interpreter with --python"
  fi
  export RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
  for bench in "$@"; do
    programs[$bench]=$(bench_program "$bench")
  done
}

# The last line of one run, a row of numbers and at most one word; stops everything if it is not.
row_of() {
  local row
  row=$("$@" | tail -n 1)
  [[ $row =~ ^(\ *[0-9.]+)+(\ +[a-z]+)?(\ +[0-9.]+)+$ ]] || fail "\`$*\` printed no row, but: $row"
  echo "$row"
}

# The rows on standard input as one: the median of each column, the largest of the last one, the peak.
summary() {
  awk '{ for (i = 1; i <= NF; i++) cell[i, NR] = $i }
    END {
      for (i = 1; i <= NF; i++) {
        for (r = 2; r <= NR; r++)
          for (s = r; s > 1 && cell[i, s] + 0 < cell[i, s - 1] + 0; s--) {
            held = cell[i, s]; cell[i, s] = cell[i, s - 1]; cell[i, s - 1] = held
          }
        m = int((NR + 1) / 2)
        middle = NR % 2 ? cell[i, m] : (cell[i, m] + cell[i, m + 1]) / 2
        if (cell[i, 1] !~ /^[0-9.]+$/) middle = cell[i, 1]
        printf "%s%s", i == NF ? cell[i, NR] : middle, i == NF ? "\n" : " "
      }
    }'
}

# in_turn OURS... -- THEIRS...: runs both commands `repeats` times in turn; the summaries' columns go to the
# arrays `ours` and `theirs`. Without OURS, `ours` stays as it is.
in_turn() {
  local first=() rows_of_ours=() rows_of_theirs=() row run
  while [[ $1 != -- ]]; do first+=("$1"); shift; done
  shift
  for ((run = 0; run < repeats; run++)); do
    if ((${#first[@]})); then
      row=$(row_of "${first[@]}"); rows_of_ours+=("$row")
    fi
    row=$(row_of "$@"); rows_of_theirs+=("$row")
  done
  ((${#first[@]} == 0)) || read -ra ours < <(printf '%s\n' "${rows_of_ours[@]}" | summary)
  read -ra theirs < <(printf '%s\n' "${rows_of_theirs[@]}" | summary)
}
