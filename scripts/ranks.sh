#!/usr/bin/env bash
# Training and other work by several processes over MPI: builds with the feature and tests it. Installs Open MPI, and libclang, by
# which its header is read, where they are missing.
#   scripts/ranks.sh [ARGUMENTS OF cargo test]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

need_cargo
need mpirun:openmpi-bin mpicc:libopenmpi-dev
need_packages libclang-dev
cargo clippy --quiet --release --features mpi --lib --bins --test ranks -- -D warnings
# One at a time: each has more processes than most machines have cores.
cargo test --quiet --release --features mpi --test ranks "$@" -- --nocapture --test-threads 1
