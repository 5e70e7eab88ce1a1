#!/usr/bin/env bash
# Processes of one thread each beside one process of as many threads, in turns, on the same batches: images a second, and
# the share of the time in which a process waits for the others.
#   benches/ranks.sh DATA [TURNS [STEPS [RANKS]]]      DATA: pictures, as of scripts/demo-data.sh
# FQGAN_TRAIN is the program (default: target/release/fqgan-train, built with --features mpi), FQGAN_RECIPE the recipe
# (default: demo-tokenizer), MPIRUN what starts processes.
set -euo pipefail
cd "$(dirname "$0")/.."

data=$(realpath "$1")
turns=${2:-5}
steps=${3:-60}
ranks=${4:-2}
program=$(realpath "${FQGAN_TRAIN:-target/release/fqgan-train}")
read -ra mpirun <<<"${MPIRUN:-mpirun --allow-run-as-root --oversubscribe --bind-to none}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The last step's words: the rate, and the share of waiting, of all steps but the first.
once() {
  local threads=$1
  shift
  rm -rf "$folder/run"
  "$@" "$program" tokenizer --recipe "${FQGAN_RECIPE:-demo-tokenizer}" --data "$data" --out "$folder/run" \
    --set run.steps="$steps" --device cpu --threads "$threads" --workers 1 2>"$folder/log" || { cat "$folder/log" >&2; return 1; }
  sed -n "s|^$steps/$steps .* \([0-9.]*\) images/s.*|\1|p" "$folder/log" >"$folder/rate"
  sed -n "s|^$steps/$steps .* \([0-9.]*\)% waiting.*|\1|p" "$folder/log" >"$folder/waiting"
}
median() { sort -g | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

echo "| turn | 1 process of $ranks threads, images/s | $ranks processes of 1 thread | ratio | waiting % |"
echo "|---|---|---|---|---|"
for ((turn = 1; turn <= turns; turn++)); do
  once "$ranks" env
  one=$(cat "$folder/rate")
  once 1 "${mpirun[@]}" -np "$ranks"
  many=$(cat "$folder/rate")
  waiting=$(cat "$folder/waiting")
  ratio=$(awk "BEGIN { printf \"%.3f\", $many / $one }")
  echo "| $turn | $one | $many | $ratio | $waiting |"
  echo "$one" >>"$folder/ones"
  echo "$many" >>"$folder/manys"
  echo "$waiting" >>"$folder/waitings"
done
one=$(median <"$folder/ones")
many=$(median <"$folder/manys")
echo "| median | $one | $many | $(awk "BEGIN { printf \"%.3f\", $many / $one }") | $(median <"$folder/waitings") |"
