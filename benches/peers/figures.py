#!/usr/bin/env python3
"""Figures of pictures beside the packages that papers are measured with: pytorch-fid, torch-fidelity, scikit-image.

    scripts/peers.sh && cargo build --release --bin fqgan
    .venv-peers/bin/python benches/peers/figures.py [--pictures 200] [--threads 2] [--batch 50] [--speed]

All see the same two sets of pictures (cut from the photographs in assets) through the same weights: the formula's, made
sqrt(2) larger, so that the network tells pictures apart. pytorch-fid stands beside our pytorch-fid variant; torch-fidelity,
which resizes and feeds as TensorFlow does, beside the graph, which this program writes. --speed times features alone, in
turn, each side reading the PNG files itself; other work must rest.
"""
import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import graph
import model
import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "target/release/fqgan"


def pictures(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    photographs = [Image.open(p).convert("RGB") for p in sorted((ROOT / "assets/photographs").glob("*.png"))]
    for i in range(count):
        whole = photographs[i % len(photographs)]
        side = int(random.integers(64, min(whole.size)))
        x, y = (int(random.integers(0, n - side + 1)) for n in whole.size)
        whole.crop((x, y, x + side, y + side)).resize((256, 256), Image.BICUBIC).save(folder / f"{i:05}.png")
    return folder


def weights() -> dict[str, np.ndarray]:
    path = model.weights("fid_inception_v3", model.golden_dir(), ROOT / "build")
    gain = np.float32(2**0.5)
    return {name: t * gain if name.endswith("conv.weight") else t for name, t in load_file(path).items()}


def fqgan(*words, threads: int) -> dict:
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([PROGRAM, *map(str, words), "--json", out.name, "--threads", str(threads), "-q"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.load(open(out.name))


def row(what: str, ours: float, theirs: float, bar: float):
    error = abs(ours / theirs - 1)
    print(f"| {what} | {ours:.8g} | {theirs:.8g} | {error:.1e} | {bar:.0e} |", flush=True)
    return error <= bar


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    import pytorch_fid.fid_score as fid_score
    import pytorch_fid.inception as peer

    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        values = weights()
        state = {name: torch.from_numpy(value) for name, value in values.items()}
        ours = place / "inception.safetensors"
        save_file(values, ours)
        (place / "inception.pb").write_bytes(graph.inception(values))
        torch.save(state, place / "inception.pth")
        peer.load_state_dict_from_url = lambda *_, **__: state
        network = peer.InceptionV3([3]).eval()
        a, b = pictures(place / "a", args.pictures, 1), pictures(place / "b", args.pictures, 2)
        if args.speed:
            return speed(args, fid_score, network, ours, a)
        statistics = [fid_score.compute_statistics_of_path(str(p), network, args.batch, 2048, "cpu", 0) for p in (a, b)]
        theirs = fid_score.calculate_frechet_distance(*statistics[0], *statistics[1])
        split = args.pictures // 2
        import torch_fidelity
        with contextlib.redirect_stderr(io.StringIO()):
            fidelity = torch_fidelity.calculate_metrics(
                input1=str(a), input2=str(b), cuda=False, isc=True, fid=True, prc=False, batch_size=args.batch,
                samples_shuffle=False, isc_splits=2, feature_extractor_weights_path=str(place / "inception.pth"),
                save_cpu_ram=True, verbose=False, cache=False)
        print("| figure | fqgan | peer | relative | bar |\n|---|---|---|---|---|")
        torchs = fqgan("eval", "samples", a, "--reference", b, "--inception", ours, "--split", split, threads=args.threads)
        adm = fqgan("eval", "samples", a, "--reference", b, "--inception", place / "inception.pb", "--split", split,
                    threads=args.threads)
        fine = row("FID, pytorch-fid", torchs["fid"], theirs, 1e-3)
        fine &= row("FID, torch-fidelity", adm["fid"], fidelity["frechet_inception_distance"], 1e-3)
        fine &= row("inception score, torch-fidelity", adm["inception_score"][0], fidelity["inception_score_mean"], 1e-3)
        sys.exit(not fine)


def speed(args, fid_score, network, ours: Path, folder: Path):
    """Least seconds of two turns for features alone. Of ours, an evaluation of eight pictures is taken off, which has the
    start and the distances."""
    names = sorted(folder.glob("*.png"))
    few = folder.parent / "few"
    few.mkdir()
    for name in names[:8]:
        (few / name.name).symlink_to(name)
    best = [float("inf")] * 3
    ours_of = lambda pictures: fqgan("eval", "samples", pictures, "--reference", few, "--inception", ours, threads=args.threads)
    for _ in range(2):
        with contextlib.redirect_stderr(io.StringIO()):
            turns = [lambda: fid_score.get_activations(names, network, args.batch, 2048, "cpu", 0),
                     lambda: ours_of(few), lambda: ours_of(folder)]
            for i, turn in enumerate(turns):
                began = time.perf_counter()
                turn()
                best[i] = min(best[i], time.perf_counter() - began)
    theirs, own = len(names) / best[0], (len(names) - 8) / (best[2] - best[1])
    print(f"{len(names)} pictures, {args.threads} threads: pytorch-fid {theirs:.1f} a second, fqgan {own:.1f}: "
          f"{own / theirs:.2f} x (start and distances of ours, {best[1]:.1f} s, not counted)")


if __name__ == "__main__":
    main()
