#!/usr/bin/env bash
# Builds the Python environment of the benchmark peers in benches/peers: PyTorch on a CPU-only machine.
#
#   scripts/peers.sh                       into .venv-peers of the repository
#   FQGAN_PEERS_VENV=DIR scripts/peers.sh  into DIR
#
# The stock wheel asks for several GB of GPU libraries, which it wants to be there at load time but never calls
# without a GPU. Only the CUDA runtime (1 MB) is installed; each other library is replaced by a stub whose
# functions return an error. CPU kernels are those of the stock wheel, untouched. Triton is not needed:
# torch.compile uses g++ here. Run again at will: it returns at once when nothing changed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${FQGAN_PEERS_VENV:-$root/.venv-peers}
light=(filelock 'typing-extensions>=4.13.0' 'setuptools>=77.0.3' 'sympy>=1.13.3' 'networkx>=2.5.1' jinja2
       'fsspec>=0.8.5' numpy safetensors pillow scipy scikit-image tqdm)
heavy=(torch==2.15.0 'nvidia-cuda-runtime~=13.2.0' torchvision==0.29.2
       pytorch-fid==0.3.0 torch-fidelity==0.4.0)   # without their dependencies

stamp=$(sha256sum "${BASH_SOURCE[0]}" | cut -d' ' -f1)
[[ -x $venv/bin/python && $(cat "$venv/.peers-stamp" 2>/dev/null) == "$stamp" ]] && exit 0

apt=()
command -v python3 >/dev/null || apt+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || apt+=(python3-venv)
python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
    2>/dev/null || apt+=(python3-dev)
{ command -v g++ && command -v nm; } >/dev/null || apt+=(g++)
if ((${#apt[@]})); then
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends "${apt[@]}"; } >"$log" 2>&1 ||
        { cat "$log" >&2; echo "peers.sh: cannot install ${apt[*]}" >&2; exit 1; }
    rm -f "$log"
fi

python3 -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install "${light[@]}"
"${pip[@]}" install --no-deps "${heavy[@]}"

"$venv/bin/python" - <<'PY'
import os, re, subprocess, sysconfig, tempfile
site = sysconfig.get_path("purelib")
lib = os.path.join(site, "torch", "lib")
elf = [os.path.join(lib, f) for f in sorted(os.listdir(lib)) if re.fullmatch(r"lib(torch|c10|shm)\w*\.so", f)]
out = lambda *a: subprocess.run(a, check=True, capture_output=True, text=True).stdout
symbols = re.findall(r" U (\w+)", out("nm", "-D", "--undefined-only", *elf))
stubbed = re.compile(r"cublas|cudnn|cufft|cusparse|cusolver|cupti|cuFile|nccl|nvrtc|nvshmem")
names = sorted({s for s in symbols if stubbed.match(s)})
versions = {}   # library -> the symbol versions that are asked of it
for so in re.findall(r"NEEDED.*\[(lib(?:cu|nv|nccl)[^\]]*)\]", out("readelf", "-d", *elf)):
    versions.setdefault(so, set())
versions.pop("libcudart.so.13")
so = None
for line in out("readelf", "-VW", *elf).splitlines():
    if m := re.search(r"File: (\S+)", line):
        so = m[1]
    elif (m := re.search(r"Name: (\S+)", line)) and so in versions:
        versions[so].add(m[1])
with tempfile.TemporaryDirectory() as tmp:
    src, script = os.path.join(tmp, "stub.c"), os.path.join(tmp, "stub.map")
    with open(src, "w") as f:
        f.write("int fqgan_stub(void) { return 1; }\n")
        f.writelines(f'int {n}(void) __attribute__((alias("fqgan_stub")));\n' for n in names)
    for so, vs in sorted(versions.items()):
        assert len(vs) <= 1, (so, vs)
        with open(script, "w") as f:
            f.write("%s { global: *; };\n" % (min(vs) if vs else ""))
        subprocess.run(["gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{so},--version-script,{script}", src,
                        "-o", os.path.join(lib, so)], check=True)
PY

"$venv/bin/python" -c 'import torch; assert torch.__version__.startswith("2.15.0"); torch.ones(2, 2) @ torch.ones(2, 2)'
echo "$stamp" >"$venv/.peers-stamp"
