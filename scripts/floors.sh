#!/usr/bin/env bash
# Imports go down only, as the house is laid out. Prints each import that does not, and fails then.
#   scripts/floors.sh [SRC]
set -euo pipefail
cd "$(dirname "$0")/.."
src=${1:-src}

find "$src" -name '*.rs' | LC_ALL=C sort | xargs awk -v src="$src" '
BEGIN {
  split("error,rng files,tensor codes npz,backend weights image,exec,ops,nn,tokenizer far teachers,train eval,capi bin", floors, ",")
  for (i in floors) { n = split(floors[i], rooms, " "); for (j = 1; j <= n; j++) floor[rooms[j]] = i + 0 }
}
function say(text) { print file ": " text; bad = 1 }

# `from` is the room of the file, `to` the one it names.
function edge(to, detail) {
  if (to == from || to == "") return
  if (to ~ /^(Error|Result|Status)$/) return               # named at the top for users
  if (!(to in floor)) { say("crate::" to ": a room that has no floor; give it one in scripts/floors.sh"); return }
  if (floor[to] >= floor[from]) say("crate::" to detail ": " from " may only use what is below it")
  if (from == "capi" && to == "train") say("crate::train: capi never imports train")
  if (to == "backend" && floor[from] > floor["ops"] && from !~ /^(capi|bin)$/ && detail ~ /cpu|cuda/)
    say("crate::backend" detail ": nothing above ops names a device")
}

# The names at depth one of the braces that begin at text[1].
function group(text,   depth, i, c, item) {
  depth = 0; item = ""
  for (i = 1; i <= length(text); i++) {
    c = substr(text, i, 1)
    if (c == "{") { depth++; if (depth == 1) continue }
    if (c == "}") { depth--; if (depth == 0) { take(item); return } }
    if (c == "," && depth == 1) { take(item); item = ""; continue }
    item = item c
  }
}
function take(item,   name) {
  gsub(/[ \t\n]/, "", item)
  name = item; sub(/[^a-zA-Z0-9_].*/, "", name)
  edge(name, substr(item, length(name) + 1))
}

function finish(   rest, name, head, parts, depth, n) {
  if (file == "") return
  from = file; sub("^" src "/", "", from)
  head = from; sub(/(\/mod)?\.rs$/, "", head)
  depth = split(head, parts, "/")
  sub(/[\/.].*/, "", from)
  if (from == "lib" || from == "bin") return   # a program may use all, and its `crate` is the program itself
  if (!(from in floor)) { say("a room that has no floor; give it one in scripts/floors.sh"); return }
  rest = text
  while (match(rest, /crate::/)) {
    # `$crate::` of a macro counts like `crate::`, a name that ends with crate does not.
    head = RSTART > 1 ? substr(rest, RSTART - 1, 1) : " "
    rest = substr(rest, RSTART + RLENGTH)
    if (head ~ /[a-zA-Z0-9_]/) continue
    if (substr(rest, 1, 1) == "{") { group(rest); continue }
    match(rest, /^[a-zA-Z0-9_]+(::[a-zA-Z0-9_]+)*/)
    take(substr(rest, RSTART, RLENGTH))
  }
  if (depth > 1) {
    rest = text
    while (match(rest, /(super::)+/)) {
      n = RLENGTH / 7
      if (n >= depth) say("super:: " n " times leaves the room: write crate::")
      rest = substr(rest, RSTART + RLENGTH)
    }
  }
}

FNR == 1 { finish(); file = FILENAME; text = "" }
{ sub(/\/\/.*/, ""); text = text $0 "\n" }
END { finish(); exit bad }
'
