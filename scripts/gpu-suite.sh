#!/usr/bin/env bash
# The checks and the timing of the CUDA backend on a machine with a GPU, which needs Python with PyTorch but no Rust.
#   scripts/gpu-suite.sh build FOLDER         here: tests and benches, stripped, and what they read, into FOLDER
#   scripts/gpu-suite.sh pack FOLDER          here: FOLDER.tar.xz of it, 60 MB at most
#   FOLDER/gpu-suite.sh run [STAGE ...]       there: prints a table. Stages, all of them if none is named:
#     ops       the op table against its oracles
#     cuda      models, a training step, every recipe, against the processor
#     golden    the golden cases
#     memcheck racecheck initcheck synccheck    the op table under that tool of compute-sanitizer
#     bench     encode, decode and a step of FAR-B beside PyTorch, in turns, in one process each
#   FOLDER/gpu-suite.sh rehearse              anywhere: all of it on the emulated device that FQGAN_CUDA_DRIVER names, with
#                                             small cases and stand-ins for what is not there, and what happens where something fails
# PYTHON (python3) names the Python in whose site-packages cuBLAS, cuDNN, NCCL and compute-sanitizer are looked for.
# FQGAN_STAGE_SECONDS (540) is the longest that one program may take, FQGAN_LOGS (FOLDER/logs) where each writes what it says.
set -euo pipefail

build() {
  cd "$(dirname "$0")/.."
  . scripts/need.sh
  need_cargo
  need strip:binutils
  FQGAN_NVCC=${FQGAN_NVCC:-$(scripts/cuda-toolchain.sh)}
  export FQGAN_NVCC
  local to=$1 programs name
  programs=$(cargo test --release --no-run --features cuda --test ops --test cuda --test golden --bench tokenizer --bench far \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
  mkdir -p "$to/tests/golden" "$to/benches"
  for name in test-ops test-cuda test-golden bench-tokenizer bench-far; do
    strip -o "$to/$name" "$(grep "/deps/${name#*-}-" <<<"$programs" | tail -1)"
  done
  # Tests start it.
  strip -o "$to/fqgan-train" "$(grep '/fqgan-train$' <<<"$programs" | tail -1)"
  cp scripts/gpu-suite.sh "$to"
  # What programs read lies as in the sources. They find it by FQGAN_ROOT.
  cp -R tests/golden/manifests tests/golden/*.safetensors tests/golden/*.png tests/golden/*.pt tests/golden/formula.py "$to/tests/golden"
  cp -R recipes "$to"
  cp -R benches/compare.py benches/peers "$to/benches"
  rm -rf "$to"/benches/peers/__pycache__
  du -sm "$to"
}

pack() {
  local from size
  from=$(cd "$1" && pwd)
  rm -rf "$from/logs" "$from/formula"
  # Programs share much: the dictionary reaches over all of them.
  tar -C "$(dirname "$from")" -c "$(basename "$from")" | xz --lzma2=preset=6,dict=192MiB >"$from.tar.xz"
  size=$(stat -c %s "$from.tar.xz")
  echo "$from.tar.xz: $size bytes"
  [ "$size" -le 60000000 ] || { echo "gpu-suite.sh: more than 60 MB" >&2; exit 1; }
}

# Prints folders of NVIDIA's wheels that hold something of a pattern, in the form of a path.
wheels() {
  "$python" - "$1" <<'END' || true
import glob, os, site, sys
roots = site.getsitepackages() + [site.getusersitepackages()]
found = {os.path.dirname(f) for r in roots for f in glob.glob(os.path.join(r, "nvidia", "*", sys.argv[1]))}
print(":".join(sorted(found)))
END
}

# What is there: a line each. Fails where no GPU is.
look() {
  "$python" - <<'END'
import ctypes, os, sys

def library(*names):
    why = None
    for name in names:
        try:
            return ctypes.CDLL(name), name
        except OSError as error:
            why = why or str(error)
    return None, why

emulated = os.environ.get("FQGAN_CUDA_DRIVER")
driver, said = library(*([emulated] if emulated else ["libcuda.so.1", "libcuda.so"]))
good = driver is not None
if good:
    code, count, version, name = driver.cuInit(0), ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(100)
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    good = code == 0 and count.value > 0
    if good:
        driver.cuDeviceGetName(name, 100, 0)
        said = f"{name.value.decode()}, {count.value} in all; CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    else:
        said += f": cuInit gives {code}, {count.value} GPUs"
print(f"  driver              {said if good else 'NO GPU: ' + said}")
for name, files in {
    "cuBLAS": ["libcublas.so.13", "libcublas.so.12", "libcublas.so"],
    "cuDNN": ["libcudnn.so.9", "libcudnn.so"],
    "NCCL": ["libnccl.so.2", "libnccl.so"],
}.items():
    there, said = library(*([emulated] if emulated else files))
    print(f"  {name:20}{said if there else 'NOT FOUND: ' + said}")
sys.exit(0 if good else 3)
END
}

bad=0
# A row of the table: what, under what, figures, seconds, how it went.
line() {
  printf '%-22s %-10s %-56s %4s s  %s\n' "$@" | tee -a "$logs/table.txt"
}
# Runs something for a row: what, under what, the command. Leaves its log and how it went.
attempt() {
  local code=0
  log=$logs/$1-$2.log began=$SECONDS result=passed
  shift 2
  timeout --kill-after=10 "$seconds" "$@" >"$log" 2>&1 || code=$?
  case $code in
    0) return ;;
    124 | 137) result="FAILED: more than $seconds s" ;;
    *) result="FAILED: exit status $code" ;;
  esac
  bad=1
}
# Where something failed: what it said of that, for those who see no more than this.
explain() {
  [ "$result" != passed ] || return 0
  { grep -E -A 1 -m 3 'panicked at|SUMMARY: [^0]|Error:|not installed|No such file' "$log" || tail -n 2 "$log"; } |
    cut -c1-160 | sed 's/^/  | /'
  echo "  | $log"
}
# A row for tests.
tests() {
  attempt "$@"
  local counts
  counts=$(sed -n 's/^test result: [^0-9]*\([0-9]* passed; [0-9]* failed\).*/\1/p' "$log" | tail -1)
  # A filter that fits no test checks nothing.
  case $result,$counts in "passed,0 passed"* | passed,) result="FAILED: nothing was run" bad=1 ;; esac
  local errors
  errors=$(sed -n 's/^=* *\(ERROR\|RACECHECK\) SUMMARY: /; /p' "$log" | tail -1)
  line "$1" "$2" "$counts$errors" $((SECONDS - began)) "$result"
  explain
}
# A row for a program that says one thing.
saying() {
  attempt "$@"
  line "$1" "$2" "$(tail -n 1 "$log" | cut -c1-56)" $((SECONDS - began)) "$result"
  explain
}
# Rows for compare.py: each of its table's is one.
compared() {
  attempt "$1" PyTorch "$python" benches/compare.py "$@" --device cuda --threads 1 --build "$FQGAN_ROOT/formula" \
    --program "$FQGAN_ROOT/bench-$1"
  local cells
  while IFS='|' read -r -a cells; do
    [[ ${cells[1]:-} == *[a-z]* && ${cells[3]} == *[0-9]* ]] || continue
    cells=("${cells[@]# }")
    cells=("${cells[@]% }")
    local theirs="PyTorch ${cells[6]} (${cells[7]}): ${cells[8]} x"
    [ -n "${cells[7]}" ] || theirs="no PyTorch"
    line "${cells[1]} ${cells[2]} x${cells[3]}" PyTorch "${cells[5]} ms, $theirs" - timed
  done <"$log"
  line "$1 in turns" PyTorch "minima, medians in brackets" $((SECONDS - began)) "$result"
  explain
}

run() {
  cd "$(dirname "$0")"
  FQGAN_ROOT=$(pwd)
  export FQGAN_ROOT
  python=${PYTHON:-python3} seconds=${FQGAN_STAGE_SECONDS:-540} logs=${FQGAN_LOGS:-$FQGAN_ROOT/logs}
  mkdir -p "$logs"
  logs=$(cd "$logs" && pwd)
  : >"$logs/table.txt"
  # Small cases on the emulated device, all of them on a GPU.
  local ops=() models=() golden=(--skip metrics:: --skip graph::)
  local tokenizer=tokenizer_dual_vq16 far=far_b_dual of_tokenizer=(--batch 1,32 --dtype bf16,f32) of_far=(--batch 1,8 --dtype bf16,f32)
  local first=() first_far=()
  if [ -n "${FQGAN_CUDA_DRIVER:-}" ]; then
    ops=(add:: narrow::of_rows) models=(missing:: process::two_steps graph::) golden=(far_step::tiny_dual)
    tokenizer=tokenizer_dual_vq8 far=far_tiny_dual first=(--side 32) first_far=(--steps 2)
    of_tokenizer=(--side 32 --batch 1 --runs 1 --burst 1) of_far=(--position 5 --batch 1,2 --runs 1 --burst 1)
  fi

  local sanitizer="" torch=no libraries path
  echo "what is there:"
  if "$python" -c pass 2>/dev/null; then
    libraries=$(wheels 'lib/lib*.so*')
    path=$(wheels 'bin/compute-sanitizer')
    [ -z "$libraries" ] || export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PATH=$PATH${path:+:$path}:/usr/local/cuda/bin
    look || { echo "gpu-suite.sh: nothing of this runs without a GPU and NVIDIA's driver" >&2; exit 3; }
    if "$python" -c 'import torch; print(f"  PyTorch             {torch.__version__}, CUDA {torch.version.cuda}"); assert torch.cuda.is_available()' 2>"$logs/torch.log"; then
      torch=yes
    else
      echo "  PyTorch             NOT USABLE, nothing is timed beside it: $(tail -n 1 "$logs/torch.log")"
    fi
  else
    export PATH=$PATH:/usr/local/cuda/bin
    echo "  Python              NOT FOUND: $python (PYTHON names another). Libraries are found where the loader looks, nothing is timed"
  fi
  sanitizer=$(command -v compute-sanitizer || true)
  echo "  compute-sanitizer   ${sanitizer:-NOT FOUND: nothing is run under it}"

  [ $# -gt 0 ] || set -- ops cuda golden memcheck racecheck initcheck synccheck bench
  echo
  local stage only
  for stage; do
    case $stage in
      ops) tests ops - ./test-ops "${ops[@]}" ;;
      cuda) tests cuda - ./test-cuda "${models[@]}" ;;
      golden) FQGAN_TEST_DEVICE=cuda tests golden - ./test-golden --test-threads 1 "${golden[@]}" ;;
      memcheck | racecheck | initcheck | synccheck)
        if [ -z "$sanitizer" ]; then
          line ops "$stage" "" 0 "FAILED: no compute-sanitizer"
          bad=1
          continue
        fi
        # Our kernels, not those of NVIDIA's libraries.
        only=()
        if "$sanitizer" --help | grep -q -e --kernel-regex; then only=(--kernel-regex kns=fqgan_); fi
        tests ops "$stage" "$sanitizer" --tool "$stage" "${only[@]}" --error-exitcode 9 ./test-ops --test-threads 1 "${ops[@]}"
        ;;
      bench)
        # These leave the files of weights that PyTorch's side reads too.
        saying encode first ./bench-tokenizer --device cuda --case $tokenizer --once encode "${first[@]}"
        saying generate first ./bench-far --device cuda --case $far --once --batch 1 --precision bf16 "${first_far[@]}"
        local variants=()
        if [ $torch = no ]; then
          line benches PyTorch "" 0 "FAILED: no PyTorch"
          variants=(--variants none) bad=1
          "$python" -c pass 2>/dev/null || continue
        fi
        compared tokenizer --case $tokenizer "${variants[@]}" "${of_tokenizer[@]}"
        compared far --case $far "${variants[@]}" "${of_far[@]}"
        ;;
      *) echo "gpu-suite.sh: no stage $stage" >&2; exit 2 ;;
    esac
  done
  echo
  cat "$logs/table.txt"
  exit $bad
}

# The script's own test: what it runs is small, and what matters is that it goes on and says what was wrong.
rehearse() {
  : "${FQGAN_CUDA_DRIVER:?the emulated device: cuda/emulator/build.sh prints its path}"
  local from file name
  from=$(cd "$(dirname "$0")" && pwd)
  python=$("${PYTHON:-python3}" -c 'import sys; print(sys.executable)')
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # Another folder, in which things can be put in the place of others.
  mkdir "$work/suite" "$work/bin" "$work/site"
  for file in "$from"/*; do
    case ${file##*/} in logs | formula | benches) ;; *) ln -s "$file" "$work/suite" ;; esac
  done
  mkdir -p "$work/suite/benches/peers"
  cp "$from/benches/compare.py" "$work/suite/benches"
  for name in tokenizer far; do
    printf '%s\n' 'import sys' 'for line in sys.stdin:' '    print(1.5, flush=True)' >"$work/suite/benches/peers/$name.py"
  done
  cat >"$work/site/torch.py" <<'END'
__version__ = "stand-in"
class version:
    cuda = "none"
class cuda:
    is_available = staticmethod(lambda: True)
END
  cat >"$work/bin/compute-sanitizer" <<'END'
#!/bin/sh
[ "$1" != --help ] || exec echo "  --kernel-regex arg"
[ "$1 $3 $4 $5 $6" = "--tool --kernel-regex kns=fqgan_ --error-exitcode 9" ] || exit 2
tool=$2
shift 6
"$@" || exit
[ "$tool" = "${FAILING:-}" ] && echo "========= ERROR SUMMARY: 1 error" && exit 9
echo "========= ERROR SUMMARY: 0 errors"
END
  chmod +x "$work/bin/compute-sanitizer"
  # Runs it with nothing but these variables, and holds its exit status to that.
  said() {
    local want=$1 code=0
    shift
    env -i PATH=/usr/bin:/bin FQGAN_CUDA_DRIVER="$FQGAN_CUDA_DRIVER" PYTHON="$python" "$@" >"$work/said" 2>&1 || code=$?
    cat "$work/said"
    [ $code -eq "$want" ] || { echo "gpu-suite.sh: exit status $code, expected $want" >&2; exit 1; }
  }
  # A line of the table, or another.
  expect() {
    grep -q -E -e "$1" "$work/said" || { echo "gpu-suite.sh: nothing says \"$1\"" >&2; exit 1; }
  }

  echo "== all is there"
  said 0 PATH="$work/bin:/usr/bin:/bin" PYTHONPATH="$work/site" "$work/suite/gpu-suite.sh" run
  expect 'driver +emulated device'
  for name in ops cuda golden 'ops +memcheck' 'ops +racecheck' 'ops +initcheck' 'ops +synccheck' 'encode +first' 'generate +first' \
    'tokenizer in turns' 'far in turns'; do
    expect "^$name .* passed$"
  done
  for name in 'encode f32 x1' 'decode f32 x1' 'step f32 x1' 'step f32 x2'; do
    expect "^$name .* ms, PyTorch 1.5 \(1.5\) .* timed$"
  done

  echo "== PyTorch is not there, a golden case fails, racecheck finds something"
  rm "$work/suite/test-golden"
  ln -s /bin/false "$work/suite/test-golden"
  said 1 PATH="$work/bin:/usr/bin:/bin" FAILING=racecheck "$work/suite/gpu-suite.sh" run golden racecheck synccheck bench
  expect 'PyTorch +NOT USABLE.*No module named'
  expect '^golden .* FAILED: exit status 1$'
  expect '^ops +racecheck .*1 error .* FAILED: exit status 9$'
  expect '^ops +synccheck .*0 errors .* passed$'
  expect '^step f32 x2 .* ms, no PyTorch .* timed$'

  echo "== a program hangs, another runs nothing"
  rm "$work/suite/test-golden" "$work/suite/test-cuda"
  printf '%s\n' '#!/bin/sh' 'exec sleep 100' >"$work/suite/test-golden"
  printf '%s\n' '#!/bin/sh' 'echo "test result: ok. 0 passed; 0 failed; 9 filtered out"' >"$work/suite/test-cuda"
  chmod +x "$work/suite/test-golden" "$work/suite/test-cuda"
  said 1 FQGAN_STAGE_SECONDS=5 "$work/suite/gpu-suite.sh" run golden cuda
  expect '^golden .* FAILED: more than 5 s$'
  expect '^cuda .* FAILED: nothing was run$'

  echo "== neither Python nor compute-sanitizer"
  said 1 PYTHON=/no-such-python "$work/suite/gpu-suite.sh" run memcheck bench
  expect 'Python +NOT FOUND: /no-such-python'
  expect '^ops +memcheck .* FAILED: no compute-sanitizer$'
  expect '^encode +first .* passed$'
  expect '^benches .* FAILED: no PyTorch$'

  echo "== no driver"
  said 3 FQGAN_CUDA_DRIVER=/no-such-driver.so "$work/suite/gpu-suite.sh" run
  expect 'NO GPU: /no-such-driver.so'
  expect "without a GPU and NVIDIA's driver"
  echo "gpu-suite.sh: rehearsed"
}

case ${1:-} in
  build) build "${2:?a folder}" ;;
  pack) pack "${2:?a folder}" ;;
  run) run "${@:2}" ;;
  rehearse) rehearse ;;
  *) sed -n '2,16p' "$0" >&2; exit 2 ;;
esac
