#!/usr/bin/env bash
# Builds the emulated device: the kernels of cuda/*.cu for the processor, behind the interfaces of NVIDIA's driver and
# libraries. Only what changed is compiled again.
#   cuda/emulator/build.sh [FOLDER]      (default: target/emulator) and prints the library's path, for FQGAN_CUDA_DRIVER
#   FQGAN_SANITIZE=address cuda/emulator/build.sh ...
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-target/emulator}
mkdir -p "$folder"
flags=(-std=c++17 -O2 -g1 -march=native -ffp-contract=off -fPIC -Wall -Wextra -Wno-unknown-pragmas -Icuda)
[ -z "${FQGAN_SANITIZE:-}" ] || flags+=("-fsanitize=$FQGAN_SANITIZE")
# Other flags, other objects.
stamp=$folder/flags
[ "$(cat "$stamp" 2>/dev/null)" = "${flags[*]}" ] || { rm -f "$folder"/*.o; echo "${flags[*]}" >"$stamp"; }

sources=(cuda/*.cu cuda/emulator/*.cpp)
newest=$(ls -t cuda/*.cuh cuda/emulator/*.h | head -1)
stale=()
objects=()
for source in "${sources[@]}"; do
  object=$folder/$(basename "$source").o
  objects+=("$object")
  [ "$object" -nt "$source" ] && [ "$object" -nt "$newest" ] || stale+=("$source")
done
library=$folder/libfqgan_emulated.so
if [ ${#stale[@]} -gt 0 ] || [ ! -e "$library" ]; then
  printf '%s\n' "${stale[@]}" | grep . | xargs -P "$(nproc)" -I{} sh -c \
    'o=$1/$(basename "$2").o; shift 2; exec "$@" -o "$o"' sh "$folder" {} g++ "${flags[@]}" -c -x c++ {}
  g++ "${flags[@]}" -shared -o "$library.part" "${objects[@]}" -lpthread
  mv "$library.part" "$library"
fi
echo "$(pwd)/${library#"$(pwd)/"}"
