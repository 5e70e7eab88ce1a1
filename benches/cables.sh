#!/usr/bin/env bash
# The time of a step against the bandwidth between machines: two processes of one thread, each in a network namespace of
# its own (scripts/ranks-apart.sh), on cables of several speeds. Prints lines for docs/scaling.csv.
#   benches/cables.sh DATA [STEPS [SPEED ...]]      DATA: pictures, as of scripts/demo-data.sh; speeds in Mbit/s
# FQGAN_TRAIN is the program, as for benches/ranks.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

data=$(realpath "$1")
steps=${2:-30}
[ $# -gt 2 ] && speeds=("${@:3}") || speeds=(10000 2000 1000 500 250 125)
program=$(realpath "${FQGAN_TRAIN:-target/release/fqgan-train}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
batch=16
bytes=$("$program" traffic --recipe demo-tokenizer --ranks 2 | awk '/^gradients/ { print $2 * 1000000 }')

cat >"$folder/run" <<'END'
#!/usr/bin/env bash
# shellcheck disable=SC2086 # several words
exec mpirun --allow-run-as-root --bind-to none $FQGAN_MPIRUN -np 2 "$@"
END
chmod +x "$folder/run"
echo "ranks,bytes,speed,seconds"
for speed in "${speeds[@]}"; do
  rm -rf "$folder/out"
  FQGAN_CABLE=${speed}mbit scripts/ranks-apart.sh "$folder/run" "$program" tokenizer --recipe demo-tokenizer \
    --data "$data" --out "$folder/out" --set run.steps="$steps" --device cpu --threads 1 --workers 1 2>"$folder/log" ||
    { cat "$folder/log" >&2; exit 1; }
  rate=$(sed -n "s|^$steps/$steps .* \([0-9.]*\) images/s.*|\1|p" "$folder/log")
  awk "BEGIN { printf \"2,%d,%d,%.4f\n\", $bytes, $speed * 125000, $batch / $rate }"
done
