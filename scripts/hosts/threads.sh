# The thread sanitizer over the library and its standard library, with eight threads on one model. A part of
# scripts/hosts.sh.
if [ "$(uname -m)" != x86_64 ] || ! command -v rustup >/dev/null 2>&1; then
  echo "  the thread sanitizer needs rustup on x86_64"
  [ "${FQGAN_TOOLS:-}" != required ]
  exit
fi
rustup component list --installed | grep -q '^rust-src' || rustup component add rust-src 2>/dev/null
triple=$(rustc -vV | sed -n 's/^host: //p')
# Instrumenting is not in stable Rust by its own name. Optimised little: the sanitizer costs more than that.
log=$work/log
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread" cargo rustc --quiet -Zbuild-std=std,panic_unwind --target "$triple" \
  --release --config profile.release.opt-level=1 --config profile.release.codegen-units=16 --no-default-features --lib \
  --crate-type cdylib --target-dir "$target/tsan" >"$log" 2>&1 || { tail -n 30 "$log"; exit 1; }
mkdir -p "$work/threads"
cp "$target/tsan/$triple/release/libfqgan.so" "$work/threads/libfqgan.so.1"
cc -std=c99 -Wall -Wextra -Werror -pedantic -D_POSIX_C_SOURCE=200809L -O1 -g -fsanitize=thread -fno-builtin -Iinclude \
  tests/hosts/threads.c tests/hosts/tsan.c "$work/threads/libfqgan.so.1" -lpthread -o "$work/threads/threads"
threads() { # ROUNDS
  TSAN_OPTIONS=halt_on_error=1 LD_LIBRARY_PATH=$work/threads "$work/threads/threads" \
    "$FQGAN_TEST_FILES/capi-tokenizer.safetensors" "$FQGAN_TEST_FILES/capi-generator.safetensors" "$1" >"$log" 2>&1
}
threads 2 || { head -n 60 "$log"; exit 1; }
# A race in the library's own code is found: two threads that decode into the same pixels.
! threads 0 || { echo "the sanitizer does not see the library"; exit 1; }
grep -q 'data race' "$log" || { head -n 60 "$log"; exit 1; }
echo "  thread sanitizer: 8 threads encode, decode and generate on one model"
