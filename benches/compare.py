#!/usr/bin/env python3
"""Times this library beside PyTorch in one run, in turn, and prints the ratios as a table.

    scripts/peers.sh
    .venv-peers/bin/python benches/compare.py tokenizer [--threads 1,2] [--batch 1,4] [--dtype f32,bf16] [--runs 9]
    .venv-peers/bin/python benches/compare.py far [--batch 1,8] [--dtype f32,bf16,int8]
    .venv-peers/bin/python benches/compare.py train [--threads 2] [--batch 2] [--runs 7]
    python3 benches/compare.py tokenizer --device cuda --batch 1,32 --program FOLDER/bench-tokenizer

Both sides answer requests over a pipe (`--serve`), so that noise of the machine falls on both alike. The peer of a
row is the fastest of the variants that were asked for. Of each turn the first call is not counted: it pays for what the
other side left in the caches, as no program does that uses one of them. PyTorch's side of an int8 row is its bf16.
`train` times whole steps of tokenizer-dual-f16 and far-b in f32 and bf16 beside PyTorch's in f32.
"""
import argparse
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Server:
    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(
            [str(c) for c in command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def time(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            if not line:
                sys.exit(f"{self.name} ended: {self.process.wait()}")
            try:
                return float(line)
            except ValueError:
                continue

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def built(bench):
    """The bench's program."""
    subprocess.run(["cargo", "bench", "--bench", bench, "--no-run", "--quiet"], cwd=ROOT, check=True)
    found = sorted((ROOT / "target/release/deps").glob(f"{bench}-*"), key=lambda p: p.stat().st_mtime)
    return [p for p in found if not p.suffix][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tokenizer", "far", "train"])
    parser.add_argument("--device", default="cpu", help="of both sides: cpu (default) or cuda")
    parser.add_argument("--program", help="our bench, built elsewhere; or cargo builds it")
    parser.add_argument("--case", help="manifest name of the weights (default: Dual f16, FAR-B Dual)")
    parser.add_argument("--side", type=int, help="of the tokenizer's pictures (default 256)")
    parser.add_argument("--position", type=int, help="of far's step (default 128)")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--batch", default=None)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--burst", type=int, default=2, help="calls of a side that count, each turn")
    parser.add_argument("--variants", default=None, help="PyTorch's, as the peer's --variants names them")
    parser.add_argument("--build", default="build", help="where the formula weights are kept")
    args = parser.parse_args()
    if args.what == "train":
        return train(args)
    tokenizer = args.what == "tokenizer"
    batches = [int(b) for b in (args.batch or ("1,4" if tokenizer else "1,8")).split(",")]
    of_device = {
        "cpu": "channels-last,compile" if tokenizer else "eager,packed,compile+packed",
        "cuda": "channels-last,compile+channels-last" if tokenizer else "eager,compile",
    }
    variants = [v for v in (args.variants or of_device[args.device]).split(",") if v != "none"]
    case = args.case or ("tokenizer_dual_vq16" if tokenizer else "far_b_dual")
    weights = ROOT / args.build / f"{case}.safetensors"
    peer = ROOT / "benches/peers" / f"{args.what}.py"
    bench = args.program or built(args.what)
    rows = []
    for threads in args.threads.split(","):
        for dtype in args.dtype.split(","):
            theirs = "bf16" if dtype == "int8" else dtype
            common = ["--serve", "--device", args.device, "--threads", threads, "--dtype", theirs]
            common += ["--case", case, "--build", args.build]
            if args.position is not None and not tokenizer:
                common += ["--position", args.position]
            if args.side is not None and tokenizer:
                common += ["--size", args.side]
            named = {v: f"bf16+{v}" if tokenizer and theirs == "bf16" and "bf16" not in v else v for v in variants}
            servers = [Server(v, [sys.executable, peer, *common, "--variants", named[v]]) for v in variants]
            ours = [bench, "--weights", weights, "--device", args.device, "--threads", threads, "--serve"]
            if args.position is not None and not tokenizer:
                ours += ["--position", args.position]
            if args.side is not None and tokenizer:
                ours += ["--side", args.side]
            if tokenizer:
                ours += ["--" + dtype] if dtype != "f32" else []
            else:
                ours += ["--precision", dtype]
            servers.insert(0, Server("fqgan", ours))
            for op in ["encode", "decode"] if tokenizer else ["step"]:
                for batch in batches:
                    request = f"{op} {batch}"
                    times = {s.name: [] for s in servers}
                    for _ in range(args.runs):
                        for server in servers:
                            # The first call finds the caches full of the other side's weights.
                            server.time(request)
                            times[server.name] += [server.time(request) for _ in range(args.burst)]
                    best = {name: min(t) for name, t in times.items()}
                    middle = {name: statistics.median(t) for name, t in times.items()}
                    fastest = min(variants, key=lambda v: best[v], default="")
                    rows.append((op, dtype, batch, threads, best, middle, fastest))
                    print_row(rows[-1], header=len(rows) == 1)
            for server in servers:
                server.stop()


def train(args):
    bench, batch, threads = built("train"), args.batch or "2", args.threads.split(",")[0]
    print("| step | one | s (median) | other | s (median) | ratio of minima (medians) |")
    print("|---|---|---|---|---|---|")
    for recipe, case in [("tokenizer-dual-f16", "tokenizer_dual_vq16"), ("far-b", "far_b_dual")]:
        ours = [bench, "--recipe", recipe, "--threads", threads, "--batch", batch, "--serve"]
        peer = [sys.executable, ROOT / "benches/peers/train.py", "--serve", "--case", case, "--threads", threads]
        others = {"PyTorch f32": peer, "fqgan bf16": [*ours, "--set", "precision=bf16"]}
        # Two at a time: three do not fit the memory of a small machine.
        for name, command in others.items():
            pair = [Server("fqgan f32", ours), Server(name, command)]
            # The first two steps take their memory from the system.
            for server in pair:
                server.time(f"step {batch}"), server.time(f"step {batch}")
            times = {s.name: [] for s in pair}
            for _ in range(args.runs):
                for server in pair:
                    times[server.name].append(server.time(f"step {batch}") / 1e3)
            for server in pair:
                server.stop()
            least, middle = ({n: of(t) for n, t in times.items()} for of in (min, statistics.median))
            ratios = [max(of.values()) / min(of.values()) for of in (least, middle)]
            cells = [cell for n in times for cell in (n, f"{least[n]:.2f} ({middle[n]:.2f})")]
            print("|", " | ".join([recipe, *cells, f"{ratios[0]:.2f} ({ratios[1]:.2f})"]), "|", flush=True)


def print_row(row, header):
    op, dtype, batch, threads, best, middle, fastest = row
    if header:
        print("| op | type | batch | threads | fqgan ms (median) | PyTorch ms (median) | variant | ratio of minima | beside each |")
        print("|---|---|---|---|---|---|---|---|---|")
    ours = f"| {op} | {dtype} | {batch} | {threads} | {best['fqgan']:.1f} ({middle['fqgan']:.1f}) "
    if not fastest:
        print(f"{ours}| | | | |", flush=True)
        return
    each = ", ".join(f"{name} {best[name] / best['fqgan']:.2f}" for name in best if name != "fqgan")
    print(
        f"{ours}"
        f"| {best[fastest]:.1f} ({middle[fastest]:.1f}) | {fastest} | {best[fastest] / best['fqgan']:.2f} | {each} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
