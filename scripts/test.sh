#!/usr/bin/env bash
# Every check of this repository: installs what it needs, stops at the first failure and says which it was.
set -euo pipefail
cd "$(dirname "$0")/.."

step='the beginning'
trap 'status=$?; [ $status -eq 0 ] || echo "FAILED: $step" >&2' EXIT
run() {
  step="$*"
  echo "== $step"
  "$@"
}

# A Debian package for each command that is missing.
need=()
for pair in cc:gcc c++:g++ cmake:cmake pkg-config:pkg-config valgrind:valgrind; do
  command -v "${pair%%:*}" >/dev/null || need+=("${pair#*:}")
done
if [ ${#need[@]} -gt 0 ]; then
  step="installing ${need[*]}"
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${need[@]}" >/dev/null
fi
for component in rustfmt clippy; do
  cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || run rustup component add "$component"
done

export RUSTFLAGS="${RUSTFLAGS:-} -D warnings"
run cargo fmt --check
run cargo clippy --release --all-targets --quiet -- -D warnings
run cargo clippy --release --lib --no-default-features --quiet -- -D warnings
run env RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --lib --quiet
run cargo test --release
# The golden cases at the lower instruction levels; the best one ran above.
for isa in avx2 portable; do
  if [ "$isa" = portable ] || grep -qw "$isa" /proc/cpuinfo; then
    run env FQGAN_ISA="$isa" cargo test --release --test golden tokenizer
  fi
done
step='the end'
echo "all checks passed"
