#!/usr/bin/env bash
# Renews include/fqgan.h from src/capi.
set -euo pipefail
cd "$(dirname "$0")/.."
FQGAN_UPDATE=1 cargo test --quiet --release --test capi header::
