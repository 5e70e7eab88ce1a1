#!/usr/bin/env bash
# Installs the library into a folder and builds programs against it, as a host's author would, one part a language:
#   scripts/hosts.sh [PART ...]      all of scripts/hosts/ when none is named
# Each must give the same bytes as the Rust calls. Installs what is missing; FQGAN_PREFIX names a library that is
# installed already.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need_cargo
need pkg-config:pkg-config readelf:binutils

parts=("$@")
[ $# -gt 0 ] || parts=(c go swift wall service bench threads)
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$target/hosts
prefix=${FQGAN_PREFIX:-$work/prefix}
if [ -z "${FQGAN_PREFIX:-}" ]; then
  rm -rf "$work"
  scripts/install.sh --prefix "$prefix"
fi
mkdir -p "$work"

# The small models and the answers to tests/hosts/cases.txt, which the Rust tests leave.
cargo test --quiet --release --test capi -- cases::the_files cases::a_status >/dev/null
export FQGAN_TEST_FILES=$target/tmp
export LD_LIBRARY_PATH=$prefix/lib PKG_CONFIG_PATH=$prefix/lib/pkgconfig

began=$SECONDS
for part in "${parts[@]}"; do
  echo "-- hosts: $part ($((SECONDS - began)) s)"
  (. "scripts/hosts/$part.sh")
done
