# What a call costs through each binding above the C call, and memory that stays flat. A part of scripts/hosts.sh.
need gcc:gcc c++:g++ go:golang

strict=(-Wall -Wextra -Werror -pedantic -O2)
flags=$(pkg-config --cflags --libs fqgan)
model=$FQGAN_TEST_FILES/capi-tokenizer.safetensors
mkdir -p "$target/bench"
cc -std=c99 "${strict[@]}" tests/hosts/bench.c $flags -o "$work/bench-c"
c++ -std=c++17 "${strict[@]}" tests/hosts/bench.cpp $flags -o "$work/bench-cpp"
measure() { # LANGUAGE
  case $1 in
    C) "$work/bench-c" "$model" ;;
    C++) "$work/bench-cpp" "$model" ;;
    Go) (cd bindings/go && GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOCACHE=$target/go-cache \
      FQGAN_BENCH=$target/bench/Go go test -count=1 -run Overhead .) >"$work/log" 2>&1 && cat "$target/bench/Go" ;;
    Swift) (. scripts/hosts/swift_env.sh && "${swift[@]}" swift test "${build[@]}" "${swift_strict[@]}" --skip-build --filter Overhead) >"$work/log" 2>&1 && cat "$target/bench/Swift" ;;
  esac
}

languages=(C++ Go)
# Swift's tests are built already where its part ran before.
[ ! -f "$target/bench/Swift" ] || languages+=(Swift)
for language in "${languages[@]}"; do
  # In turns with the C calls, the least of each: what another program takes meanwhile is nobody's cost. A machine
  # that is busy needs more turns.
  least=(999999999 999999999 999999999) have=(999999999 999999999 999999999)
  for turn in 1 2 3 4 5 6 7 8; do
    read -r -a c < <(measure C)
    read -r -a it < <(measure "$language") || { cat "$work/log"; exit 1; }
    worst=0
    for i in 0 1 2; do
      [ "${c[i]}" -ge "${least[i]}" ] || least[i]=${c[i]}
      [ "${it[i]}" -ge "${have[i]}" ] || have[i]=${it[i]}
      above=$((have[i] - least[i]))
      [ $above -le $worst ] || worst=$above
    done
    [ $turn -lt 2 ] || [ $worst -ge 20000 ] || break
  done
  echo "  $language: at most $worst ns above the C call (encode, decode, pack: ${have[*]}; C ${least[*]})"
  [ $worst -lt 20000 ] || { echo "$language costs 20 microseconds or more above the C call"; exit 1; }
done

cc -std=c99 "${strict[@]}" tests/hosts/soak.c $flags -o "$work/soak"
"$work/soak" assets/weights/demo-tokenizer.safetensors assets/weights/demo-far.safetensors 10000 200 | sed 's/^/  soak: /'
