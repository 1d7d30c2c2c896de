#!/usr/bin/env bash
# Makes data/tiny-base again, in three lessons: about half an hour on one core.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked --quiet
for lesson in 1-stories 2-reading 3-mix; do
  target/release/perk pretrain --config "configs/tiny-base/$lesson.toml"
done
