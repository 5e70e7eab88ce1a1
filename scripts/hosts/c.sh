# C and C++: by CMake and by pkg-config, shared and static. A part of scripts/hosts.sh.
need c++:g++ cmake:cmake make:make pngtopnm:netpbm

# What is installed: one shared library by the name that programs ask for, with its functions only, in their
# versions; and an archive that shows no more.
soname=$(readelf -d "$prefix/lib/libfqgan.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = libfqgan.so.1 ] || { echo "the SONAME is $soname, not libfqgan.so.1"; exit 1; }
listed=$(sed -n 's/^ *\(fqgan_[a-z_]*\);$/\1@@FQGAN_1/p' scripts/package/fqgan.map | sort)
have=$(nm -D --defined-only -P "$prefix/lib/libfqgan.so" | sed -n 's/ T .*//p' | sort)
[ "$have" = "$listed" ] || { echo "exported: $have"; exit 1; }
have=$(nm -g --defined-only -P "$prefix/lib/libfqgan.a" | sed -n 's/ [A-Za-z] .*/@@FQGAN_1/p' | sort)
[ "$have" = "$listed" ] || { echo "visible in the archive: $have"; exit 1; }

# What a static link needs beside the archive is what rustc says.
libs=$(scripts/install.sh --static-libs)
[ "$(pkg-config --static --libs-only-l fqgan | xargs)" = "-lfqgan $libs" ] || { echo "fqgan.pc: not $libs"; exit 1; }
[ "$(pkg-config --libs fqgan-static | xargs)" = "$(pkg-config --variable=libdir fqgan-static)/libfqgan.a $libs" ] ||
  { echo "fqgan-static.pc: not libfqgan.a $libs"; exit 1; }
grep -qxF "    INTERFACE_LINK_LIBRARIES \"${libs// /;}\")" "$prefix/lib/cmake/fqgan/fqgan-config.cmake" ||
  { echo "fqgan-config.cmake: not $libs"; exit 1; }

# The command line that is built with the tests, and a photograph.
model=$target/tmp/capi-tokenizer.safetensors
pngtopnm assets/photographs/chelsea.png | pamcut -width 128 -height 96 >"$work/photo.ppm" 2>/dev/null
pnmtopng -quiet "$work/photo.ppm" >"$work/photo.png"
"$target/release/fqgan" encode --keep-size --model "$model" "$work/photo.png" -o "$work/cli.fqc" >/dev/null
"$target/release/fqgan" decode --model "$model" "$work/cli.fqc" -o "$work/cli.png" >/dev/null
pngtopnm "$work/cli.png" >"$work/cli.ppm"

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

flags=$(pkg-config --cflags --libs fqgan-static)
cc -std=c99 "${strict[@]}" ffi-examples/c/photo.c $flags -o "$work/photo-static"
! ldd "$work/photo-static" | grep -q libfqgan || { echo "the static program asks for libfqgan.so"; exit 1; }
LD_LIBRARY_PATH= check "pkg-config, static, c/photo" "$work/photo-static"

# Beside another Rust library, with a standard library of its own.
mkdir -p "$work/two"
cat >"$work/two/other.rs" <<'END'
#[unsafe(no_mangle)]
pub extern "C" fn other(n: i32) -> i32 {
    std::panic::catch_unwind(|| format!("{}", 100 / n).len() as i32).unwrap_or(-1)
}
END
cat >"$work/two/main.c" <<'END'
#include <fqgan.h>
int other(int n);
int main(void) {
  fqgan_error error = {sizeof error, 0, {0}};
  fqgan_tokenizer *none;
  fqgan_runtime *runtime;
  if (fqgan_runtime_create(NULL, &runtime, &error) != FQGAN_OK) return 1;
  const fqgan_status status = fqgan_tokenizer_open(runtime, "/nowhere", NULL, &none, &error);
  fqgan_runtime_destroy(runtime);
  return status == FQGAN_ERROR_IO && other(10) == 2 && other(0) == -1 ? 0 : 1;
}
END
rustc -O --edition 2024 --crate-type staticlib -o "$work/two/libother.a" "$work/two/other.rs"
cc -std=c99 "${strict[@]}" "$work/two/main.c" "$work/two/libother.a" $flags -o "$work/two/main"
"$work/two/main" 2>/dev/null || { echo "two Rust libraries in one program: it fails"; exit 1; }
echo "  two Rust libraries in one program"

# The tarball, unpacked at another place than it was made for, with its library found there.
scripts/package.sh "$work/package" >/dev/null
mkdir -p "$work/moved to"
tar -xzf "$work"/package/libfqgan-*.tar.gz -C "$work/moved to" --strip-components=1
(cd "$work/package" && sha256sum --quiet -c ./*.sha256)
cmake -S ffi-examples/c -B "$work/cmake-moved" -DCMAKE_PREFIX_PATH="$work/moved to" >"$work/log" &&
  cmake --build "$work/cmake-moved" >>"$work/log" || { cat "$work/log"; exit 1; }
LD_LIBRARY_PATH="$work/moved to/lib" check "the tarball, c/photo" "$work/cmake-moved/photo"
