#!/usr/bin/env python3
"""Compares the peers with the golden cases: benches/peers/check.py [--golden DIR] [--build DIR] [NAME ...]"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open

import model

failed = 0


def report(case: str, what: str, value: float, limit: float) -> None:
    global failed
    ok = value <= limit
    failed += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {case:26} {what:32} {value:.2e} (at most {limit:.0e})")


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def check_tokenizer(name: str, golden: Path, build: Path, channels_last: bool) -> None:
    m = model.tokenizer(name, model.weights(name, golden, build), channels_last=channels_last)
    case = name + (" nhwc" if channels_last else "")
    with safe_open(golden / f"{name}.safetensors", "pt") as g:
        meta = g.metadata()
        image = Image.open(golden / "images" / json.loads(meta["image"])).convert("RGB")
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().div(255).sub(0.5).div(0.5)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        codes = m.encode(x)
        for i, (b, z) in enumerate(zip(m.branches, m.latents(x))):
            report(case, f"z_{b}", relative(z[0], g.get_tensor(f"z_{b}")), 2e-4)
            wrong = (codes[0, i] != g.get_tensor(f"codes_{b}")) & (g.get_tensor(f"gap_{b}") > 1e-3)
            report(case, f"codes_{b} that differ", wrong.sum().item(), 0)
        given = torch.stack([g.get_tensor(f"codes_{b}") for b in m.branches])[None].long()
        a, b = json.loads(meta["crop"])
        whole = "reconstruction" in g.keys()
        y = m.decode(given)[0]
        crop = slice(None) if whole else slice(a, b)
        report(case, "reconstruction",
               relative(y[:, crop, crop], g.get_tensor("reconstruction" if whole else "reconstruction_crop")), 2e-4)
        q = m.embed(given)
        y = m.decode_embedded([q[0]] + [torch.zeros_like(t) for t in q[1:]])[0, :, a:b, a:b]
        report(case, "reconstruction from vis", relative(y, g.get_tensor("reconstruction_vis_only_crop")), 2e-4)


def check_far(name: str, golden: Path, build: Path) -> None:
    fresh = lambda: model.far(name, model.manifest(name, golden)["tensors"], model.weights(name, golden, build))
    m = fresh()
    with safe_open(golden / f"{name}.safetensors", "pt") as g:
        meta = g.metadata()
        every = lambda what: torch.stack([g.get_tensor(f"{what}_{i}") for i in range(1, m.k + 1)], -1).long()
        codes = every("idx")
        logits = m(g.get_tensor("class").long(), codes)
        loss = sum(F.cross_entropy(l.flatten(0, 1), codes[..., i].flatten()) for i, l in enumerate(logits)) / m.k
        s, v = json.loads(meta["logits_stride"])
        for i, l in enumerate(logits, 1):
            report(name, f"logits_{i}", relative(l[:, ::s, ::v], g.get_tensor(f"logits_{i}")), 2e-4)
        report(name, "loss", abs(loss.item() / float(meta["loss"]) - 1), 1e-4)
        want = every("greedy")
        classes, scale = g.get_tensor("greedy_class").long(), float(meta["cfg_scale"])
        got = m.generate(classes, want.shape[1], scale, noise=False)
        report(name, "greedy codes that differ", (got != want).sum().item(), 0)
        for rows in (2, 16):
            got = model.pack(fresh(), rows).generate(classes, want.shape[1], scale, noise=False)
            report(f"{name} packed {rows}", "greedy codes that differ", (got != want).sum().item(), 0)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--golden", help="folder of the golden cases")
    p.add_argument("--build", type=Path, default=model.ROOT / "build", help="folder for weight files")
    p.add_argument("names", nargs="*", help="default: all cases")
    a = p.parse_args()
    golden = model.golden_dir(a.golden)
    names = a.names or [f"tokenizer_{k}_vq{f}" for k in ("dual", "triple") for f in (16, 8)] + \
        [f"far_{s}_{k}" for s in ("tiny", "b") for k in ("dual", "triple")]
    with torch.inference_mode():
        for name in names:
            if name.startswith("tokenizer"):
                check_tokenizer(name, golden, a.build, False)
                check_tokenizer(name, golden, a.build, True)
            else:
                check_far(name, golden, a.build)
        m = model.tokenizer("tokenizer_plain_vq16", None)
        codes = m.encode(torch.zeros(1, 3, 64, 64))
        report("tokenizer_plain_vq16", "shapes", float(tuple(m.decode(codes).shape) != (1, 3, 64, 64)), 0)
    print(f"{'FAILED' if failed else 'all agree'}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
