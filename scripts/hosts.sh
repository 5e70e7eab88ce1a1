#!/usr/bin/env bash
# Installs the library into a folder and builds programs against it, as a host's author would: by CMake and by
# pkg-config, shared and static. Each must make the same bytes as the command line.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need_cargo
need c++:g++ cmake:cmake make:make pkg-config:pkg-config pngtopnm:netpbm nm:binutils

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$target/hosts
prefix=$work/prefix
rm -rf "$work"
mkdir -p "$work"
scripts/install.sh --prefix "$prefix"

# What is installed: one shared library by the name that programs ask for, and its functions only.
soname=$(readelf -d "$prefix/lib/libfqgan.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = libfqgan.so.1 ] || { echo "the SONAME is $soname, not libfqgan.so.1"; exit 1; }
others=$(nm -D --defined-only -P "$prefix/lib/libfqgan.so" | grep -v '^fqgan_' || true)
[ -z "$others" ] || { echo "exported beside fqgan_: $others"; exit 1; }

# A small model that the tests make, the command line that is built with them, and a photograph.
cargo test --quiet --release --test capi models:: >/dev/null
model=$target/tmp/capi-tokenizer.safetensors
pngtopnm assets/photographs/chelsea.png | pamcut -width 128 -height 96 >"$work/photo.ppm" 2>/dev/null
pnmtopng -quiet "$work/photo.ppm" >"$work/photo.png"
"$target/release/fqgan" encode --keep-size --model "$model" "$work/photo.png" -o "$work/cli.fqc" >/dev/null
"$target/release/fqgan" decode --model "$model" "$work/cli.fqc" -o "$work/cli.png" >/dev/null
pngtopnm "$work/cli.png" >"$work/cli.ppm"

export LD_LIBRARY_PATH=$prefix/lib PKG_CONFIG_PATH=$prefix/lib/pkgconfig
strict=(-Wall -Wextra -Werror -pedantic -O2)
check() { # NAME COMMAND: the photograph through a host
  local name=$1
  shift
  case $1 in
    */photo*) "$1" "$model" "$work/photo.ppm" "$work/out.fqc" "$work/out.ppm" >/dev/null
      cmp "$work/out.fqc" "$work/cli.fqc" ;;
    *) "$1" "$model" "$work/photo.ppm" "$work/out.ppm" >/dev/null ;;
  esac
  cmp "$work/out.ppm" "$work/cli.ppm"
  rm -f "$work"/out.*
  echo "  $name: same bytes as the command line"
}

for static in OFF ON; do
  for example in c/photo cpp/minimal; do
    build=$work/cmake-${example%/*}-$static
    { cmake -S "ffi-examples/${example%/*}" -B "$build" -DCMAKE_PREFIX_PATH="$prefix" -DFQGAN_STATIC=$static \
        -DCMAKE_BUILD_TYPE=Release && cmake --build "$build"; } >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    check "CMake, static $static, $example" "$build/${example#*/}"
  done
done

flags=$(pkg-config --cflags --libs fqgan)
cc -std=c99 "${strict[@]}" ffi-examples/c/photo.c $flags -o "$work/photo-shared"
check "pkg-config, shared, c/photo" "$work/photo-shared"
c++ -std=c++17 "${strict[@]}" ffi-examples/cpp/minimal.cpp $flags -o "$work/minimal-shared"
check "pkg-config, shared, cpp/minimal" "$work/minimal-shared"
cc -std=c99 "${strict[@]}" -g -fsanitize=address,undefined -fno-sanitize-recover=all ffi-examples/c/photo.c $flags \
  -o "$work/photo-sanitized"
check "pkg-config, sanitizers, c/photo" "$work/photo-sanitized"

# For a static link the archive stands in the place of -lfqgan.
flags=$(pkg-config --static --cflags --libs fqgan | sed "s|-lfqgan|$prefix/lib/libfqgan.a|")
cc -std=c99 "${strict[@]}" ffi-examples/c/photo.c $flags -o "$work/photo-static"
! ldd "$work/photo-static" | grep -q libfqgan || { echo "the static program asks for libfqgan.so"; exit 1; }
LD_LIBRARY_PATH= check "pkg-config, static, c/photo" "$work/photo-static"
