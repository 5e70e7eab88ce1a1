#!/usr/bin/env bash
# The checks of the CUDA backend on a machine with a GPU, which needs Python with PyTorch but no Rust.
#   scripts/gpu-suite.sh build FOLDER    here: builds the test programs, stripped, into FOLDER
#   FOLDER/gpu-suite.sh run              there: runs the op table and the models on the GPU, then again under
#                                        compute-sanitizer where that is installed, and prints a table
# cuBLAS and cuDNN are found in the site-packages of that Python (PYTHON names it; python3).
set -euo pipefail

build() {
  local to=$1
  cd "$(dirname "$0")/.."
  . scripts/need.sh
  need_cargo
  FQGAN_NVCC=${FQGAN_NVCC:-$(scripts/cuda-toolchain.sh)}
  export FQGAN_NVCC
  mkdir -p "$to"
  for test in ops cuda; do
    local program
    program=$(cargo test --release --no-run --features cuda --test "$test" --message-format=json 2>/dev/null |
      grep -o '"executable":"[^"]*/deps/'"$test"'-[^"]*"' | cut -d'"' -f4 | tail -1)
    strip -o "$to/$test" "$program"
  done
  cp "$0" "$to/gpu-suite.sh"
  # What the tests read, where they look for it.
  echo "$(pwd)" >"$to/source"
  mkdir -p "$to/golden/manifests"
  cp tests/golden/far_tiny_dual.safetensors "$to/golden"
  cp tests/golden/manifests/far_tiny_dual.json "$to/golden/manifests"
  du -sh "$to"
}

run() {
  cd "$(dirname "$0")"
  local python=${PYTHON:-python3} libraries
  libraries=$("$python" - <<'END'
import glob, os, site
roots = site.getsitepackages() + [site.getusersitepackages()]
print(":".join(sorted({d for r in roots for d in glob.glob(os.path.join(r, "nvidia", "*", "lib"))})))
END
  )
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  unset FQGAN_CUDA_DRIVER
  # The tests look for the golden files where they were built.
  local source
  source=$(cat source)
  if [ ! -e "$source/tests/golden" ]; then
    mkdir -p "$source/tests" "$source/target/tmp"
    ln -s "$(pwd)/golden" "$source/tests/golden"
  fi
  local sanitizer bad=0
  sanitizer=$(command -v compute-sanitizer || true)
  local tools=(none)
  [ -z "$sanitizer" ] || tools+=(memcheck racecheck initcheck synccheck)
  printf '%-10s %-10s %s\n' program under result
  for test in ops cuda; do
    for tool in "${tools[@]}"; do
      local command=("./$test" --test-threads 1) log=$test-$tool.log
      [ "$tool" = none ] || command=("$sanitizer" --tool "$tool" --error-exitcode 9 "${command[@]}")
      local result=passed
      "${command[@]}" >"$log" 2>&1 || { result="FAILED, see $log"; bad=1; }
      printf '%-10s %-10s %s\n' "$test" "$tool" "$(grep -o '[0-9]* passed; [0-9]* failed' "$log" | tail -1), $result"
    done
  done
  exit $bad
}

case ${1:-} in
  build) build "${2:?a folder}" ;;
  run) run ;;
  *) sed -n '2,7p' "$0" >&2; exit 2 ;;
esac
