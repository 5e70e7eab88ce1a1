#!/usr/bin/env bash
# Builds the library and installs it with its headers, for pkg-config and CMake:
#   scripts/install.sh --prefix DIR      (default: /usr/local; DESTDIR is honoured)
#   scripts/install.sh --static-libs     what a static link needs beside the library, as rustc says
set -euo pipefail

prefix=/usr/local
only_libs=
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=${2:?--prefix needs a folder}; shift 2 ;;
    --prefix=*) prefix=${1#*=}; shift ;;
    --static-libs) only_libs=1; shift ;;
    -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "install.sh: unknown argument $1; see --help" >&2; exit 2 ;;
  esac
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
cd "$(dirname "$0")/.."
. scripts/need.sh
need_cargo

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

[ -z "$only_libs" ] || { echo "$libs"; exit; }

made=$target/libraries
rm -rf "$made"
mkdir -p "$made"
case $(uname -s) in
  Darwin)
    built=libfqgan.dylib shared=libfqgan.1.dylib
    cp "$target/release/$built" "$made/$shared"
    cp "$target/release/libfqgan.a" "$made/"
    ;;
  *)
    need ld:binutils
    built=libfqgan.so shared=libfqgan.so.1
    # The archive becomes one object in which the interface alone is visible: what Rust's standard library
    # defines would otherwise collide with that of another Rust library in the same program. It also loses the
    # compiler's intermediate code, which linkers of another LLVM stumble over. What is not used stays in, in
    # sections that a host's linker can drop: dropping them here makes weak references strong.
    sed -n 's/^ *\(fqgan_[a-z_]*\);$/\1/p' scripts/package/fqgan.map >"$made/names"
    ld -r -o "$made/whole.o" --whole-archive "$target/release/libfqgan.a"
    objcopy --strip-debug --remove-section .llvmbc --remove-section .llvmcmd --keep-global-symbols="$made/names" \
      "$made/whole.o" "$made/fqgan.o"
    ar rcs "$made/libfqgan.a" "$made/fqgan.o"
    # cargo's shared library has no room for symbol versions, so it is linked of the same object.
    cc -shared -o "$made/$shared" "$made/fqgan.o" -Wl,-soname,"$shared" -Wl,--version-script=scripts/package/fqgan.map \
      -Wl,--gc-sections -Wl,--as-needed -Wl,-z,relro,-z,now,-z,defs,-z,noexecstack $libs
    ;;
esac

to=${DESTDIR:-}$prefix
install -d "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/fqgan"
install -m 644 include/fqgan.h include/fqgan.hpp "$to/include/"
install -m 755 "$made/$shared" "$to/lib/$shared"
ln -sf "$shared" "$to/lib/$built"
install -m 644 "$made/libfqgan.a" "$to/lib/libfqgan.a"

fill() { # IN OUT [what separates the libraries]
  sed -e "s|@VERSION@|$version|g" -e "s|@SHARED@|$shared|g" -e "s|@STATIC_LIBS@|${libs// /${3:- }}|g" "$1" >"$2"
}
fill scripts/package/fqgan.pc.in "$to/lib/pkgconfig/fqgan.pc"
fill scripts/package/fqgan-static.pc.in "$to/lib/pkgconfig/fqgan-static.pc"
fill scripts/package/fqgan-config.cmake.in "$to/lib/cmake/fqgan/fqgan-config.cmake" ";"
fill scripts/package/fqgan-config-version.cmake.in "$to/lib/cmake/fqgan/fqgan-config-version.cmake"
echo "libfqgan $version is in $to"
