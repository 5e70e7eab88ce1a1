#!/usr/bin/env bash
# Tables 3 and 4 of the paper at demo size: five tokenizers and three heads of a generator, each with the same budget. What
# is done already is left as it is, and what was cut goes on.
#   scripts/ablation.sh DATA OUT [THREADS]     DATA is made by scripts/demo-data.sh; takes an hour and a half of one core
# FQGAN_TRAIN names a built fqgan-train. At the end OUT has table.md and curves.svg, which docs/ablation.md shows.
set -euo pipefail
here=$(dirname "$0")
. "$here/need.sh"
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
data=$1 out=$2 threads=${3:-0}
root=$(cd "$here/.." && pwd)
need python3:python3
if [ -n "${FQGAN_TRAIN:-}" ]; then
  train() { "$FQGAN_TRAIN" "$@"; }
else
  need_cargo
  train() { cargo run --quiet --release --manifest-path "$root/Cargo.toml" --bin fqgan-train -- "$@"; }
fi
mkdir -p "$out"

# row NAME COMMAND...: into OUT/NAME, unless that is done.
row() {
  local name=$1
  shift
  [ -e "$out/$name/last.safetensors" ] && return
  echo "== $name"
  train "$@" --out "$out/$name" --resume --threads "$threads"
}
pictures=(--data "$data/train" --held-out "$data/held-out" --workers 1)

row teacher teacher --recipe demo-teacher "${pictures[@]}"

teacher=(--teacher "demo=$out/teacher/last.safetensors")
plain=(--set "loss.semantic=[]")
tokenizer() { row "$1" tokenizer --recipe ablation-tokenizer "${pictures[@]}" "${@:2}"; }
tokenizer vqgan "${plain[@]}" --set 'model.branches=[""]'
tokenizer factorized "${plain[@]}" --set loss.disentangle_ratio=0.0
tokenizer disentangle "${plain[@]}"
tokenizer semantic "${teacher[@]}" --set loss.disentangle_ratio=0.0
tokenizer both "${teacher[@]}"

demo=$root/assets/weights/demo-tokenizer.safetensors
codes() {
  [ -e "$out/$1.safetensors" ] || train codes --model "$demo" --data "$data/$1" --views "$2" \
    --out "$out/$1.safetensors" --threads "$threads"
}
codes train flip
codes held-out centre
for head in ar linear mlp; do
  row "$head" far --recipe ablation-far --codes "$out/train.safetensors" --held-out "$out/held-out.safetensors" \
    --tokenizer "$demo" --set "model.head=$head"
done

python3 "$here/ablation-table.py" "$out"
