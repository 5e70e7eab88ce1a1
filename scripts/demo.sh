#!/usr/bin/env bash
# Builds the command line and shows what it does: photographs to codes and back, and with the small models that are
# shipped emoji there and back, and new ones. Arguments go to `fqgan demo`, which is then all that runs.
set -euo pipefail
. "$(dirname "$0")/need.sh"
need_cargo
root=$(cd "$(dirname "$0")/.." && pwd)
echo "Building fqgan: a minute or two the first time." >&2
fqgan() { cargo run --quiet --release --manifest-path "$root/Cargo.toml" --bin fqgan -- "$@"; }
fqgan demo "$@"
[ $# = 0 ] || exit 0

# The small models that are shipped: emoji there and back, and new ones, a row for each category.
weights=$root/assets/weights
echo
fqgan reconstruct -m "$weights/demo-tokenizer.safetensors" "$root/assets/emoji" -o fqgan-demo-emoji --compare
echo "Held-out emoji, what comes back, and what each sub-codebook holds: fqgan-demo-emoji"
fqgan generate -g "$weights/demo-far.safetensors" -m "$weights/demo-tokenizer.safetensors" \
    --class 0,1,2,3,4,5,6,7,8 --count 8 --temperature 0.7 --top-p 0.9 --guidance 1.5 \
    -o fqgan-demo-generated.png
echo "New emoji, a row for each category: fqgan-demo-generated.png"
