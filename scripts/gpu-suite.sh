#!/usr/bin/env bash
# The checks and the timing of the CUDA backend on a machine with a GPU, which needs Python with PyTorch but no Rust.
#   scripts/gpu-suite.sh build FOLDER         here: builds tests and benches, stripped, into FOLDER, 60 MB at most
#   FOLDER/gpu-suite.sh run [STAGE ...]       there: prints a table. Stages, all of them if none is named:
#     ops       the op table against its oracles
#     cuda      models, a training step, every recipe, against the processor
#     golden    the golden cases
#     sanitize  the op table under compute-sanitizer: memcheck, racecheck, initcheck, synccheck
#     bench     encode, decode and a step of FAR-B beside PyTorch, in turns, in one process each
#   FOLDER/gpu-suite.sh rehearse [STAGE ...]  on the emulated device that FQGAN_CUDA_DRIVER names, small cases alone
# PYTHON (python3) names the Python in whose site-packages cuBLAS, cuDNN, NCCL and compute-sanitizer are looked for.
# FQGAN_STAGE_SECONDS (540) is the longest that one program may take.
set -euo pipefail

build() {
  local to=$1
  cd "$(dirname "$0")/.."
  . scripts/need.sh
  need_cargo
  FQGAN_NVCC=${FQGAN_NVCC:-$(scripts/cuda-toolchain.sh)}
  export FQGAN_NVCC
  mkdir -p "$to/tests/golden" "$to/benches"
  local kind name program
  for kind in test:ops test:cuda test:golden bench:tokenizer bench:far; do
    name=${kind#*:}
    program=$(cargo test --release --no-run --features cuda "--${kind%:*}" "$name" --message-format=json |
      sed -n 's/.*"executable":"\([^"]*\/deps\/'"$name"'-[^"]*\)".*/\1/p' | tail -1)
    strip -o "$to/${kind%:*}-$name" "$program"
  done
  cp "$0" "$to/gpu-suite.sh"
  # What they read lies as it does in the sources, whose place is compiled in.
  pwd >"$to/source"
  cp -R tests/golden/manifests tests/golden/*.safetensors tests/golden/*.png tests/golden/*.pt tests/golden/formula.py "$to/tests/golden"
  cp -R benches/compare.py benches/peers "$to/benches"
  rm -rf "$to"/benches/peers/__pycache__
  local size
  size=$(du -sm "$to" | cut -f1)
  echo "$to: $size MB"
  [ "$size" -le 60 ] || { echo "gpu-suite.sh: more than 60 MB" >&2; exit 1; }
}

# Prints folders of NVIDIA's wheels that hold something of a pattern, in the form of a path.
wheels() {
  "$python" - "$1" <<'END'
import glob, os, site, sys
roots = site.getsitepackages() + [site.getusersitepackages()]
found = {os.path.dirname(f) for r in roots for f in glob.glob(os.path.join(r, "nvidia", "*", sys.argv[1]))}
print(":".join(sorted(found)))
END
}

bad=0
# One row of the table: a program's name, what it runs under, the command.
row() {
  local name=$1 under=$2 began=$SECONDS result=passed
  local log=$name-$under.log
  shift 2
  timeout "$seconds" "$@" >"$log" 2>&1 || { result="FAILED, see $log"; bad=1; }
  local counts
  counts=$(sed -n 's/^test result: [^0-9]*\([0-9]* passed; [0-9]* failed\).*/\1/p' "$log" | tail -1)
  # A filter that fits no test checks nothing.
  case $counts in "0 passed"* | "") [ "$result" = passed ] && { result="FAILED, nothing was run"; bad=1; } ;; esac
  printf '%-8s %-10s %-24s %6d s  %s\n' "$name" "$under" "$counts" $((SECONDS - began)) "$result"
}

run() {
  local rehearsal=$1
  shift
  cd "$(dirname "$0")"
  python=${PYTHON:-python3}
  seconds=${FQGAN_STAGE_SECONDS:-540}
  local libraries path
  libraries=$(wheels 'lib/lib*.so*')
  path=$(wheels 'bin/compute-sanitizer')
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export PATH=$PATH${path:+:$path}:/usr/local/cuda/bin
  # Programs look for their files where they were built.
  local source
  source=$(cat source)
  if [ ! -e "$source" ]; then
    mkdir -p "$(dirname "$source")"
    ln -s "$(pwd)" "$source"
  fi
  mkdir -p "$source/target/tmp"
  local ops=() models=() golden=(--skip metrics:: --skip graph::) sanitized=()
  # Which weights, what the first call is timed with, and what the rows are of.
  local tokenizer=tokenizer_dual_vq16 far=far_b_dual first=() of_far=() of_tokenizer=() of_peers=()
  if [ "$rehearsal" = yes ]; then
    : "${FQGAN_CUDA_DRIVER:?the emulated device: cuda/emulator/build.sh prints its path}"
    ops=(add:: narrow::)
    models=(graph:: missing::)
    golden=(far::tiny_dual far_step::tiny_dual)
    sanitized=(add::)
    tokenizer=tokenizer_dual_vq8 far=far_tiny_dual first=(--side 32)
    of_tokenizer=(--side 32 --batch 1 --runs 1 --burst 1)
    of_far=(--position 5 --batch 1,2 --runs 1 --burst 1)
    # PyTorch knows no emulated device.
    of_peers=(--variants none)
  else
    unset FQGAN_CUDA_DRIVER
    of_tokenizer=(--batch 1,32 --dtype bf16,f32)
    of_far=(--batch 1,8 --dtype bf16,f32)
    "$python" -c 'import torch; print(torch.cuda.get_device_name(0), "torch", torch.__version__)'
  fi
  [ $# -gt 0 ] || set -- ops cuda golden sanitize bench
  for stage; do
    case $stage in
      ops) row ops - ./test-ops "${ops[@]}" ;;
      cuda) row cuda - ./test-cuda "${models[@]}" ;;
      golden) FQGAN_TEST_DEVICE=cuda row golden - ./test-golden --test-threads 1 "${golden[@]}" ;;
      sanitize)
        local sanitizer
        sanitizer=$(command -v compute-sanitizer || true)
        if [ -z "$sanitizer" ]; then
          echo "compute-sanitizer: not found, nothing was run under it"
          [ "$rehearsal" = yes ] || bad=1
          continue
        fi
        for tool in memcheck racecheck initcheck synccheck; do
          row ops "$tool" "$sanitizer" --tool "$tool" --error-exitcode 9 ./test-ops --test-threads 1 "${sanitized[@]}"
        done
        ;;
      bench)
        # These leave the files of weights that PyTorch's side reads too.
        ./bench-tokenizer --device cuda --case $tokenizer --once encode "${first[@]}" || bad=1
        ./bench-far --device cuda --case $far --once --batch 1 --precision bf16 || bad=1
        local common=(--device cuda --threads 1 --build "$source/target/tmp/formula" "${of_peers[@]}")
        "$python" benches/compare.py tokenizer --case $tokenizer "${common[@]}" --program "$PWD/bench-tokenizer" \
          "${of_tokenizer[@]}" || bad=1
        "$python" benches/compare.py far --case $far "${common[@]}" --program "$PWD/bench-far" "${of_far[@]}" || bad=1
        ;;
      *) echo "gpu-suite.sh: no stage $stage" >&2; exit 2 ;;
    esac
  done
  exit $bad
}

case ${1:-} in
  build) build "${2:?a folder}" ;;
  run) run no "${@:2}" ;;
  rehearse) run yes "${@:2}" ;;
  *) sed -n '2,14p' "$0" >&2; exit 2 ;;
esac
