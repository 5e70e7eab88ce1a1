#!/usr/bin/env bash
# All checks, as CI runs them: format, lints, tests with every instruction set, hosts in C and C++ under
# sanitizers and valgrind. Installs what is missing, stops at the first failure, and says where.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

log=$(mktemp)
step="getting ready"
began=$SECONDS
finish() {
  local code=$?
  passed=$(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
  failed=$(sed -n 's/^test result: .* \([0-9]*\) failed.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
  rm -f "$log"
  if [ $code -ne 0 ]; then
    [ "$failed" -gt 0 ] && echo "$passed passed, $failed failed"
    echo "test.sh: FAILED at: $step"
  else
    echo "test.sh: all is well, after $((SECONDS - began)) s"
    echo "$passed passed, $failed failed"
  fi
}
trap finish EXIT
begin() {
  step=$1
  echo "== $step ($((SECONDS - began)) s)"
}
tests() { cargo test --quiet --release "$@" 2>&1 | tee -a "$log"; }

need_cargo
need c++:g++ valgrind:valgrind nm:binutils chromium:chromium
for component in rustfmt clippy; do
  cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done
# The C programs of tests/capi must run under sanitizers and valgrind, and pages be opened in a browser, not only where
# these happen to be.
export FQGAN_TOOLS=required

begin "format"
cargo fmt --check
begin "imports"
scripts/floors.sh
begin "lints"
cargo clippy --quiet --release --all-targets -- -D warnings
begin "lints, library alone"
cargo clippy --quiet --release --no-default-features --lib -- -D warnings
begin "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --release --no-deps
target=aarch64-unknown-linux-gnu
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  begin "it compiles for $target"
  cargo check --quiet --release --lib --no-default-features --target $target
fi

begin "tests"
tests
for isa in avx2 portable; do
  case $isa in
    avx2) grep -qw avx2 /proc/cpuinfo 2>/dev/null || continue ;;
  esac
  begin "golden cases, FQGAN_ISA=$isa"
  FQGAN_ISA=$isa tests --test golden tokenizer
done
begin "CUDA: kernels by nvcc, lints"
FQGAN_NVCC=$(scripts/cuda-toolchain.sh)
export FQGAN_NVCC
cargo clippy --quiet --release --features cuda --all-targets -- -D warnings
begin "CUDA: no register is spilled, and each kernel says what ptxas gives it"
scripts/cuda-figures.sh --check
begin "CUDA: no library of NVIDIA's is needed to start"
cargo build --quiet --release --features cuda --lib --bin fqgan
for file in target/release/libfqgan.so target/release/fqgan; do
  if ldd "$file" | grep -E 'libcu|libnv'; then
    echo "$file needs a library of NVIDIA's"
    exit 1
  fi
done
begin "CUDA: the op table, models, a training step, on the emulated device"
FQGAN_CUDA_DRIVER=$(cuda/emulator/build.sh)
FQGAN_EMULATOR_KERNELS=$(mktemp)
export FQGAN_CUDA_DRIVER FQGAN_EMULATOR_KERNELS
tests --features cuda --test ops --test cuda
begin "CUDA: golden generators and their step on the emulated device"
FQGAN_TEST_DEVICE=cuda tests --features cuda --test golden -- far::tiny far_step::tiny
begin "CUDA: each kernel was launched by these tests"
kernels=$(nm -D --defined-only "$FQGAN_CUDA_DRIVER" | sed -n 's/^.* T \(fqgan_.*\)$/\1/p' | sort)
never=$(comm -23 <(echo "$kernels") <(sort -u "$FQGAN_EMULATOR_KERNELS"))
if [ -z "$kernels" ] || [ -n "$never" ]; then
  echo "of $(wc -w <<<"$kernels") kernels, never launched:" $never
  exit 1
fi
rm "$FQGAN_EMULATOR_KERNELS"
unset FQGAN_EMULATOR_KERNELS
begin "CUDA: what a machine with a GPU is sent"
suite=$(mktemp -d)
scripts/gpu-suite.sh build "$suite"
"$suite/gpu-suite.sh" rehearse
rm -r "$suite"
unset FQGAN_CUDA_DRIVER
begin "CUDA: kernels of bf16, under the address sanitizer"
FQGAN_SANITIZE=address cuda/checks/run.sh target/emulator-address
begin "training by several processes"
scripts/ranks.sh 2>&1 | tee -a "$log"
begin "hosts"
scripts/hosts.sh
step="the end"
