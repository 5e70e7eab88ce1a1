# How to run Swift: "${swift[@]}" COMMAND, and "${build[@]}" for the package. Where this machine has none, in a Debian 13
# that has. For other parts of scripts/hosts.sh.
if command -v swift >/dev/null 2>&1; then
  swift=(env) package=$PWD/bindings/swift target_there=$target
else
  swift=(scripts/swift-chroot.sh) package=/fqgan/bindings/swift target_there=/target
fi
there=${prefix/#$target/$target_there}
swift+=(env PKG_CONFIG_PATH="$there/lib/pkgconfig" LD_LIBRARY_PATH="$there/lib" FQGAN_TEST_FILES="$target_there/tmp"
  FQGAN_BENCH="$target_there/bench/Swift")
mkdir -p "$target/bench"

# The header in a Swift module, as strictly as in C (but for a line that the compiler itself adds without its end), and
# no warning in Swift.
swift_strict=(-Xcc -Wall -Xcc -Wextra -Xcc -Werror -Xcc -pedantic -Xcc -Wno-newline-eof -Xswiftc -warnings-as-errors)
build=(--package-path "$package" --scratch-path "$target_there/swift-build")
