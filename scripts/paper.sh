#!/usr/bin/env bash
# Makes a table of the paper, row by row, and prints what the paper gives beside what was measured.
#   scripts/paper.sh table1|table2|table3|table4
# recipes/paper/README.md says which variables name the weights and pictures. Run again, it goes on where it was.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
table=${1:-}
if [ ! -f "$root/recipes/paper/$table.sh" ]; then
  echo "usage: scripts/paper.sh table1|table2|table3|table4; see recipes/paper/README.md" >&2
  exit 2
fi
OUT=${OUT:-paper-results}
COUNT=${COUNT:-50000}
mkdir -p "$OUT"

# What stands before the --, and the command after it.
split() {
  before=()
  while [ "$1" != -- ]; do
    before+=("$1")
    shift
  done
  shift
  command=("$@")
}

# made FILE -- COMMAND: makes a file that is not there yet.
made() {
  split "$@"
  [ -f "${before[0]}" ] || "${command[@]}"
}

# step NAME -- COMMAND: the same of a file in OUT, which the command is told by -o.
step() {
  split "$@"
  made "$OUT/${before[0]}" -- "${command[@]}" -o "$OUT/${before[0]}"
}

# row NAME KEY=EXPECTED... -- COMMAND: runs an evaluation and prints its figures.
row() {
  split "$@"
  local name=${before[0]} pair key measured
  local json=$OUT/$table-$name.json
  [ -f "$json" ] || "${command[@]}" --json "$json" >/dev/null
  for pair in "${before[@]:1}"; do
    key=${pair%%=*}
    # Of a list the first number.
    measured=$(tr -d '\n ' <"$json" | grep -oE "\"$key\":\[?[-0-9.e+]+" | grep -oE '[-0-9.e+]+$' || echo none)
    printf '%-8s %-12s %-16s paper %-10s here %s\n' "$table" "$name" "$key" "${pair#*=}" "$measured"
  done
}

# shellcheck source=/dev/null
. "$root/recipes/paper/$table.sh"
