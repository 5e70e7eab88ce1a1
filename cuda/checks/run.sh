#!/usr/bin/env bash
# Builds the emulated device and runs the programs of this folder on it: the emulator itself, and what the op table does not
# reach because its tensors are f32.
#   cuda/checks/run.sh [FOLDER]
#   FQGAN_SANITIZE=address cuda/checks/run.sh target/emulator-address
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-target/emulator}
library=$(cuda/emulator/build.sh "$folder")
flags=(-std=c++17 -O1 -g1 -Wall -Wextra -Wno-unknown-pragmas -Icuda)
[ -z "${FQGAN_SANITIZE:-}" ] || flags+=("-fsanitize=$FQGAN_SANITIZE")
for check in cuda/checks/*.cpp; do
  program=$folder/check-$(basename "$check" .cpp)
  g++ "${flags[@]}" "$check" "$library" -Wl,-rpath,"$(dirname "$library")" -o "$program"
  "$program" || { echo "$check failed" >&2; exit 1; }
  echo "$check: well"
done
