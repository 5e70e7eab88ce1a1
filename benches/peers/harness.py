"""What the benchmarks of the peers share: options, rounds of timing, serving single runs, memory."""
import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import model

logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)   # it misses triton, which a CPU does not need
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(model.ROOT / "build/inductor"))

import torch  # noqa: E402

Run = Callable[[], object]
SERVE = "serve: each line on stdin, `OP BATCH`, runs that once and answers with its milliseconds"


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def names(text: str) -> list[str]:
    return text.split(",")


def parser(doc: str, case: str, batch: str) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--case", default=case, help=f"manifest name (default {case})")
    p.add_argument("--golden", help="folder of the golden cases")
    p.add_argument("--build", type=Path, default=model.ROOT / "build", help="folder for weight files")
    p.add_argument("--device", default="cpu", help="cpu (default), or cuda: from the host's memory and back to it")
    p.add_argument("--threads", type=numbers, default=[len(os.sched_getaffinity(0))], help="list, such as 1,2")
    p.add_argument("--batch", type=numbers, default=numbers(batch), help=f"list (default {batch})")
    p.add_argument("--dtype", type=names, default=["f32"], help="list of f32, bf16")
    p.add_argument("--variants", type=names, help="list (default: all of the type)")
    p.add_argument("--runs", type=int, default=15, help="timed runs of each variant")
    p.add_argument("--quick", action="store_true", help="3 runs, nothing compiled")
    p.add_argument("--malloc", choices=("default", "keep"), default="default",
                   help="keep: malloc gives nothing back to the system, which spares page faults (10 to 20 %% faster)")
    p.add_argument("--serve", action="store_true", help=SERVE)
    p.add_argument("--memory", action="store_true", help="resident memory of processes that do one thing only")
    return p


def start(args: argparse.Namespace, freezing: bool = True) -> None:
    """Threads and compiler; starts over for malloc's settings, which are read when a process begins."""
    keep = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 33), "MALLOC_TOP_PAD_": str(1 << 28)}
    if args.malloc == "keep" and any(os.environ.get(k) != v for k, v in keep.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | keep)
    torch.set_num_threads(args.threads[0])
    os.environ["TORCHINDUCTOR_FREEZING"] = str(int(freezing))   # compile for constant weights: repack and fuse them


def emit(**row) -> None:
    print(json.dumps(row), flush=True)


def ms(run: Run) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def busy() -> tuple[float, float]:
    """CPU seconds spent so far: by this process, by the whole machine (what the hypervisor stole included)."""
    own, all_ = os.times(), Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, all_)
    return own.user + own.system, (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def rounds(runs: dict[str, Run], count: int, **labels) -> None:
    """Times the variants in turns, so that what else the machine does hits all of them alike.

    `others` of a row: how many cores other processes kept busy meanwhile; trust rows where it is near 0.
    """
    for run in runs.values():
        run(), run()
    times = {v: [] for v in runs}
    start, (own, machine) = time.perf_counter(), busy()
    for _ in range(count):
        for v, run in runs.items():
            times[v].append(ms(run))
    own, machine = (b - a for a, b in zip((own, machine), busy()))
    others = max(0.0, machine - own) / (time.perf_counter() - start)
    for v, t in times.items():
        emit(**labels, threads=torch.get_num_threads(), variant=v, min_ms=round(min(t), 2),
             median_ms=round(statistics.median(t), 2), runs=count, others=round(others, 2))


def serve(get: Callable[[str, int], Run]) -> None:
    """Answers each line `OP BATCH` with milliseconds. The first of a kind is warmed up before it is timed."""
    known: dict[tuple[str, int], Run] = {}
    for line in sys.stdin:
        if not line.strip():
            continue
        op, batch = line.split()
        key = op, int(batch)
        if key not in known:
            known[key] = get(*key)
            known[key](), known[key]()
        print(f"{ms(known[key]):.3f}", flush=True)


def status(field: str) -> float:
    """MiB of a line of /proc/self/status"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return round(int(line.split()[1]) / 1024, 1)
    raise KeyError(field)


def memory(load: Callable[[], Run], args: argparse.Namespace, op: str) -> None:
    """Resident MiB of this process: with its libraries, with the model, after three runs, and at its highest."""
    imported = status("VmRSS")
    run = load()
    loaded = status("VmRSS")
    for _ in range(3):
        run()
    emit(op=op, case=args.case, dtype=args.dtype[0], batch=args.batch[0], malloc=args.malloc, threads=args.threads[0],
         variant=args.variants[0], imported_mib=imported, loaded_mib=loaded, resident_mib=status("VmRSS"),
         peak_mib=status("VmHWM"))


def children(**lists: list) -> int:
    """Runs this script again for each choice of the given options: threads and memory want a process of their own."""
    combos = [[]]
    for option, values in lists.items():
        combos = [c + [f"--{option.replace('_', '-')}={v}"] for c in combos for v in values]
    code = 0
    for c in combos:
        code |= subprocess.run([sys.executable, *sys.argv, *c], stdin=subprocess.DEVNULL).returncode
    return code
