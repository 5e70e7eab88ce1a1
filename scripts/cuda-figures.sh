#!/usr/bin/env bash
# What ptxas makes of each kernel of cuda/: registers a thread, shared memory a block (without the dynamic part), and how
# many of a multiprocessor's 64 warps that leaves room for, on sm_80 and sm_90a. Fails where a register is spilled.
#   scripts/cuda-figures.sh [--write | --check] [FILE.cu ...]
# --write puts the figures at the end of each file's head, --check fails where they stand there otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
nvcc=${FQGAN_NVCC:-$(scripts/cuda-toolchain.sh)}
mode=print
case ${1:-} in --write | --check) mode=${1#--}; shift ;; esac
[ $# -gt 0 ] || set -- cuda/*.cu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '%s\n' "$@" | xargs -P "${FQGAN_JOBS:-$(nproc)}" -I{} sh -c '
  name=$(basename "$3" .cu) && mkdir "$2/$name" &&
  "$1" -fatbin -std=c++17 -O3 -Icuda -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
    -Xptxas -v --keep --keep-dir "$2/$name" -o "$2/$name/out" "$3" >"$2/$name/log" 2>&1 || { cat "$2/$name/log" >&2; exit 255; }
' sh "$nvcc" "$work" {}

exec python3 - "$mode" "$work" "$@" <<'PYTHON'
import glob, os, re, sys

mode, work, files = sys.argv[1], sys.argv[2], sys.argv[3:]
HEAD = "// Registers, bytes of shared memory and resident warps of 64 (scripts/cuda-figures.sh):"
SHARED = {"sm_80": 164 << 10, "sm_90a": 228 << 10}
bad = False

def warps(arch, threads, registers, shared):
    of_block = -(-threads // 32)
    by_registers = 65536 // (-(-registers * 32 // 256) * 256 * of_block)
    by_shared = SHARED[arch] // (-(-shared // 128) * 128 + 1024)
    return min(64 // of_block, 32, by_registers, by_shared) * of_block

for path in files:
    folder = os.path.join(work, os.path.basename(path)[:-3])
    threads = {}
    for ptx in glob.glob(folder + "/*.ptx"):
        for name, count in re.findall(r"\.entry (\w+)\([^)]*\)[^{]*?\.maxntid (\d+)", open(ptx).read(), re.S):
            threads[name] = int(count)
    figures = {}
    entry = None
    for line in open(folder + "/log"):
        if found := re.search(r"entry function '(\w+)' for '(\w+)'", line):
            entry = found.groups()
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if found.groups() != ("0", "0"):
                print(f"{path}: {entry[0]} spills registers on {entry[1]}: {line.strip()}", file=sys.stderr)
                bad = True
        elif found := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            figures[entry] = (int(found.group(1)), int(shared.group(1)) if shared else 0)
    rows = []
    source = open(path).read()
    for name in sorted(threads):
        cells = []
        for arch in SHARED:
            registers, shared = figures[name, arch]
            cells.append(f"{registers:4}{shared:7}{warps(arch, threads[name], registers, shared):4}")
        rows.append(f"{name.removeprefix('fqgan_'):36}{threads[name]:5} threads{cells[0]}   |{cells[1]}")
    table = [HEAD, f"// {'':49}{'sm_80':>15}   |{'sm_90a':>15}"] + ["// " + row for row in rows]
    if mode == "print":
        print(f"{os.path.basename(path)}")
        print("\n".join("  " + row for row in rows))
        continue
    lines = source.split("\n")
    end = next(i for i, line in enumerate(lines) if not line.startswith("//"))
    old = next((i for i in range(end) if lines[i] == HEAD), end)
    head = lines[:old]
    while head and head[-1] == "//":
        head.pop()
    fresh = "\n".join(head + ["//"] + table + lines[end:])
    if fresh != source:
        if mode == "write":
            open(path, "w").write(fresh)
        else:
            print(f"{path}: its figures are not what ptxas says; scripts/cuda-figures.sh --write", file=sys.stderr)
            bad = True
sys.exit(bad)
PYTHON
