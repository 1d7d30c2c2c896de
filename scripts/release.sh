#!/usr/bin/env bash
# Makes a release archive: the program, licence, README and documents, configurations and the tiny base, man pages and
# completions; and its checksum.
#
#   scripts/release.sh [--out dist] [--target TRIPLE]
#
# The archive is dist/perk-VERSION-TRIPLE.tar.gz; the same tree and compiler make the same archive, byte by byte. Man pages
# and completions come from the program itself, which must run on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
out=dist target=$host
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --out | --target)
      (($# > 1)) || { echo "error: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) echo "error: unknown argument $1" >&2; exit 2 ;;
  esac
done

built=${CARGO_TARGET_DIR:-target}
if [[ $target == "$host" ]]; then
  cargo build --locked --release
else
  cargo build --locked --release --target "$target"
  built+=/$target
fi
program=$built/release/perk
version=$("$program" --version | cut -d' ' -f2)
name=perk-$version-$target
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
folder=$room/$name
mkdir -p "$folder/completions" "$out"
install -m 755 -s "$program" "$folder/perk" 2>/dev/null || install -m 755 "$program" "$folder/perk"
# What is in the repository, and nothing that lies beside it.
git archive HEAD README.md CHANGELOG.md LICENSE docs configs data/tiny-base data/story | tar -x -C "$folder"
"$program" man --out "$folder/man/man1"
for shell in bash zsh fish elvish powershell; do
  "$program" completions "$shell" >"$folder/completions/perk.$shell"
done
# Names in order, no times of today, no names of users.
tar --sort=name --mtime="@$(git log -1 --format=%ct)" --owner=0 --group=0 --numeric-owner -C "$room" -cf - "$name" |
  gzip -9n >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
