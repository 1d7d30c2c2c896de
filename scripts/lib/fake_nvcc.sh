#!/usr/bin/env bash
# Stands in for NVIDIA's compiler where CUDA code is type-checked and never run: names a version, and leaves an
# empty file wherever an output is asked for. What is built with it must not be linked.
set -euo pipefail

for argument in "$@"; do
  if [[ $argument == --version ]]; then
    echo "Cuda compilation tools, release 13.0, V13.0.88"
    exit 0
  fi
done

folder=
wanted=()
inputs=()
while (($#)); do
  case $1 in
    -o | --output-file) wanted+=("$2"); shift ;;
    --output-directory | -odir) folder=$2; shift ;;
    *.cu) inputs+=("$1") ;;
  esac
  shift
done
if [[ -n $folder ]]; then
  mkdir -p "$folder"
  for input in "${inputs[@]}"; do
    name=$(basename "$input" .cu)
    wanted+=("$folder/$name.ptx" "$folder/$name.o")
  done
fi
for file in ${wanted[@]+"${wanted[@]}"}; do
  : >"$file"
done
