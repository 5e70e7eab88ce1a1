# Swift: bindings/swift and its command-line tool; where this machine has no Swift, in a Debian 13 that has. A part of
# scripts/hosts.sh.
. scripts/hosts/swift_env.sh
run() { "${swift[@]}" "$@" >"$work/log" 2>&1 || { tail -n 60 "$work/log"; exit 1; }; }

run swift test "${build[@]}" "${swift_strict[@]}"
grep -E 'Executed [0-9]+ tests, with 0 failures' "$work/log" | tail -n 1 | sed 's/^\t* */  Swift: /'

# The tool, against the command line of the library.
model=$target/tmp/capi-tokenizer.safetensors
tool() { "${swift[@]}" "$target_there/swift-build/debug/fqgan-swift" "$@"; }
mkdir -p "$target/swift"
cp "$FQGAN_TEST_FILES"/capi-*.safetensors "$target/swift/"
printf 'P6\n# a comment\n34 29\n255\n' >"$target/swift/in.ppm"
head -c $((34 * 29 * 3)) "$model" >>"$target/swift/in.ppm"
files=$target_there/swift
tool encode "$files/capi-tokenizer.safetensors" "$files/in.ppm" "$files/out.fqc"
tool decode "$files/capi-tokenizer.safetensors" "$files/out.fqc" "$files/out.ppm"
"$target/release/fqgan" decode --model "$model" "$target/swift/out.fqc" -o "$target/swift/out.png" >/dev/null
need pngtopnm:netpbm
pngtopnm "$target/swift/out.png" | cmp - "$target/swift/out.ppm"
tool generate "$files/capi-generator.safetensors" "$files/capi-tokenizer.safetensors" 3 7 "$files/made.ppm" 2>/dev/null
[ "$(head -c 8 "$target/swift/made.ppm" | tr '\n' ' ')" = "P6 16 12" ]
! tool encode /nowhere "$files/in.ppm" "$files/out.fqc" 2>/dev/null
echo "  Swift: the tool gives the same picture as the command line"
