#!/usr/bin/env python3
"""Times one decode step of FAR, mid sequence: benches/peers/far.py [--threads 1,2] [--batch 1,8] [--dtype f32,bf16]

A step reads the codes of the position before, runs the backbone against its cache, then the head for each sub-code,
guided and sampled. With guidance a batch of 8 is 16 rows. One JSON line for each variant:
eager, compile (block by block), packed (weights laid out for oneDNN beforehand), compile+packed; with --device cuda
the first two.
"""
import sys

import harness
import torch

import model

VARIANTS = ["eager", "compile", "packed", "compile+packed"]


class Bench:
    def __init__(self, args, dtype: str):
        self.args = args
        golden = model.golden_dir(args.golden)
        tensors = model.manifest(args.case, golden)["tensors"]
        path = model.weights(args.case, golden, args.build)
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.load = lambda: model.far(args.case, tensors, path, dtype).to(args.device)
        self.models = {}

    def run(self, variant: str, op: str, batch: int) -> harness.Run:
        if op != "step":
            raise ValueError(f"no such thing to run: {op}")
        words, at, scale = variant.split("+"), self.args.position, self.args.scale
        rows = 2 * batch if scale > 1 else batch
        key = variant, rows if "packed" in words else 0
        if key not in self.models:
            m = self.load()
            m = model.pack(m, rows) if "packed" in words else m
            self.models[key] = model.compile_blocks(m) if "compile" in words else m
        m = self.models[key]
        g = torch.Generator().manual_seed(7)
        cache = torch.randn(m.new_cache(rows).shape, generator=g).to(m.new_cache(rows))
        codes = torch.randint(m.embedding(1).num_embeddings, (batch, m.k), generator=g).to(self.args.device)
        position = torch.tensor([at], device=self.args.device)

        def once():
            with torch.inference_mode():
                return m.next_step(codes, position, at + 1, cache, scale, True).cpu()
        return once


def main() -> int:
    p = harness.parser(__doc__, "far_b_dual", "1,8")
    p.add_argument("--position", type=int, default=128, help="index of the step (default 128)")
    p.add_argument("--scale", type=float, default=2.0, help="guidance; 1 or less for none (default 2)")
    a = p.parse_args()
    if len(a.threads) > 1 or a.memory and (len(a.dtype) > 1 or not a.variants or len(a.variants) > 1):
        lists = {"threads": a.threads}
        if a.memory:
            lists |= {"dtype": a.dtype, "variants": a.variants or ["eager"]}
        return harness.children(**lists)
    harness.start(a, freezing=False)
    if a.serve:
        bench = Bench(a, a.dtype[0])
        variant = (a.variants or ["eager"])[0]
        harness.serve(lambda op, batch: bench.run(variant, op, batch))
        return 0
    if a.memory:
        harness.memory(lambda: Bench(a, a.dtype[0]).run(a.variants[0], "step", a.batch[0]), a, "step")
        return 0
    for dtype in a.dtype:
        bench = Bench(a, dtype)
        variants = a.variants or (["eager"] if a.quick else VARIANTS if a.device == "cpu" else VARIANTS[:2])
        for batch in a.batch:
            harness.rounds({v: bench.run(v, "step", batch) for v in variants}, 3 if a.quick else a.runs,
                           op="step", case=a.case, dtype=dtype, batch=batch, malloc=a.malloc, position=a.position)
    return 0


if __name__ == "__main__":
    sys.exit(main())
