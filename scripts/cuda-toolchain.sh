#!/usr/bin/env bash
# Lays out nvcc 13.0 from NVIDIA's wheels on PyPI, for machines without the CUDA toolkit, and prints the path of nvcc:
#   scripts/cuda-toolchain.sh [FOLDER]
# About 100 MB to fetch, once; the default folder is cuda-13.0 in cargo's target folder. nvcc needs no environment,
# only g++. No driver and no GPU are needed either.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

if [ $# -gt 0 ]; then
  folder=$1
else
  need_cargo >&2
  folder=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/cuda-13.0
fi
nvcc=$folder/nvidia/cu13/bin/nvcc

if [ ! -e "$folder/complete" ]; then
  need g++:g++ unzip:unzip python3:python3 >&2
  python3 -m pip --version >/dev/null 2>&1 || need_packages python3-pip >&2
  part=$folder.part.$$
  trap 'rm -rf "$part"' EXIT
  mkdir -p "$part"
  wheels=(nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl)
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --dest "$part" \
    "${wheels[@]/%/==13.0.*}" >&2
  for wheel in "$part"/*.whl; do
    unzip -q -o "$wheel" -d "$part"
    rm "$wheel"
  done
  # Wheels carry no executable bits that unzip would trust.
  chmod +x "$part"/nvidia/cu13/bin/* "$part"/nvidia/cu13/nvvm/bin/* 2>/dev/null || true
  touch "$part/complete"
  # Two runs at once may both get here: the first wins.
  mkdir -p "$(dirname "$folder")"
  [ -e "$folder/complete" ] || { rm -rf "$folder"; mv -T "$part" "$folder"; }
fi
[ -x "$nvcc" ] || { echo "cuda-toolchain.sh: $nvcc is missing; remove $folder and try again" >&2; exit 1; }
echo "$nvcc"
