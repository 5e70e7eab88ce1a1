#!/usr/bin/env bash
# Builds the library and installs it with its headers, for pkg-config and CMake:
#   scripts/install.sh --prefix DIR      (default: /usr/local; DESTDIR is honoured)
set -euo pipefail

prefix=/usr/local
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=${2:?--prefix needs a folder}; shift 2 ;;
    --prefix=*) prefix=${1#*=}; shift ;;
    -h | --help) sed -n '2,3s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "install.sh: unknown argument $1; see --help" >&2; exit 2 ;;
  esac
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
cd "$(dirname "$0")/.."

# The library alone: no command line, no picture files. rustc says what a static link needs beside it.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# In a folder of its own: cargo keeps one library of that name, and other builds would replace it by turns.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/install
build=(cargo rustc --release --lib --no-default-features --crate-type "cdylib,staticlib" --target-dir "$target")
if ! "${build[@]}" -- --print native-static-libs 2>"$log"; then
  cat "$log" >&2
  exit 1
fi
libs=$(sed -n 's/.*native-static-libs: *//p' "$log" | tail -n 1)
[ -n "$libs" ] || { cat "$log" >&2; echo "install.sh: rustc named no native static libraries" >&2; exit 1; }
# Each once, the last place counts: what is needed comes after what needs it.
libs=$(printf '%s\n' $libs | tac | awk '!seen[$0]++' | tac | paste -sd ' ')

case $(uname -s) in
  Darwin) built=libfqgan.dylib shared=libfqgan.1.dylib ;;
  *) built=libfqgan.so shared=libfqgan.so.1 ;;
esac

to=${DESTDIR:-}$prefix
install -d "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/fqgan"
install -m 644 include/fqgan.h include/fqgan.hpp "$to/include/"
install -m 755 "$target/release/$built" "$to/lib/$shared"
ln -sf "$shared" "$to/lib/$built"
install -m 644 "$target/release/libfqgan.a" "$to/lib/libfqgan.a"

fill() { # IN OUT [what separates the libraries]
  sed -e "s|@VERSION@|$version|g" -e "s|@SHARED@|$shared|g" -e "s|@STATIC_LIBS@|${libs// /${3:- }}|g" "$1" >"$2"
}
fill scripts/package/fqgan.pc.in "$to/lib/pkgconfig/fqgan.pc"
fill scripts/package/fqgan-config.cmake.in "$to/lib/cmake/fqgan/fqgan-config.cmake" ";"
fill scripts/package/fqgan-config-version.cmake.in "$to/lib/cmake/fqgan/fqgan-config-version.cmake"
echo "libfqgan $version is in $to"
