#!/usr/bin/env bash
# Builds the command line and shows what it does: photographs to codes and back. Arguments go to `fqgan demo`.
set -euo pipefail
. "$(dirname "$0")/need.sh"
need_cargo
manifest=$(cd "$(dirname "$0")/.." && pwd)/Cargo.toml
echo "Building fqgan: a minute or two the first time." >&2
exec cargo run --quiet --release --manifest-path "$manifest" --bin fqgan -- demo "$@"
