#!/usr/bin/env python3
"""Times the tokenizer of the peer: benches/peers/tokenizer.py [--threads 1,2] [--batch 1,4] [--dtype f32,bf16]

One JSON line for each variant. Variants of f32: eager, channels-last, compile, compile+channels-last. Those of bf16
have either autocast (weights in f32) or bf16 (weights in bf16) before them, as in autocast+channels-last.
"""
import sys

import harness
import torch

import model

LAYOUTS = ["eager", "channels-last", "compile", "compile+channels-last"]
VARIANTS = {"f32": LAYOUTS, "bf16": [f"{p}+{l}" for p in ("autocast", "bf16") for l in LAYOUTS]}
MEASURED = {"f32": LAYOUTS[:2], "bf16": VARIANTS["bf16"][4:6]}   # of memory, unless variants are given
OPS = ("encode", "decode")


class Bench:
    def __init__(self, args, dtype: str):
        self.args, self.dtype = args, dtype
        self.golden = model.golden_dir(args.golden)
        self.path = model.weights(args.case, self.golden, args.build)
        self.models, self.compiled = {}, {}

    def run(self, variant: str, op: str, batch: int, part="both") -> harness.Run:
        words = variant.split("+")
        last, dtype = "channels-last" in words, torch.bfloat16 if "bf16" in words else torch.float32
        key = last, dtype
        if key not in self.models:
            self.models[key] = model.tokenizer(self.args.case, self.path, part, dtype, last).to(self.args.device)
        m = self.models[key]
        g = torch.Generator().manual_seed(7)
        if op == "encode":
            x = torch.rand(batch, 3, self.args.size, self.args.size, generator=g).mul_(2).sub_(1).to(dtype)
            x = x.contiguous(memory_format=torch.channels_last) if last else x
        else:
            side = self.args.size // m.f
            x = torch.randint(16384, (batch, len(m.branches), side, side), generator=g)
        call = getattr(m, op)
        if "compile" in words:
            if (variant, op, batch) not in self.compiled:
                self.compiled[variant, op, batch] = torch.compile(call, dynamic=False)
            call = self.compiled[variant, op, batch]
        autocast = "autocast" in words

        def once():
            with torch.inference_mode(), torch.autocast(self.args.device, torch.bfloat16, enabled=autocast):
                return call(x.to(self.args.device)).cpu()
        return once


def main() -> int:
    p = harness.parser(__doc__, "tokenizer_dual_vq16", "1,4")
    p.add_argument("--size", type=int, default=256, help="side of the picture in pixels (default 256)")
    p.add_argument("--op", type=harness.names, default=list(OPS), help="encode, decode or both (default)")
    a = p.parse_args()
    if a.memory and len(a.dtype) > 1:
        return harness.children(dtype=a.dtype)
    if a.memory:
        if len(a.threads) * len(a.op) > 1 or not a.variants or len(a.variants) > 1:
            return harness.children(threads=a.threads, op=a.op, variants=a.variants or MEASURED[a.dtype[0]])
    elif len(a.threads) > 1:
        return harness.children(threads=a.threads)
    harness.start(a)
    if a.serve:
        variant = (a.variants or {"f32": ["channels-last"], "bf16": ["bf16+channels-last"]}[a.dtype[0]])[0]
        bench = Bench(a, a.dtype[0])
        harness.serve(lambda op, batch: bench.run(variant, op, batch))
        return 0
    if a.memory:
        op = a.op[0]
        harness.memory(lambda: Bench(a, a.dtype[0]).run(a.variants[0], op, a.batch[0], part=op), a, op)
        return 0
    for dtype in a.dtype:
        bench = Bench(a, dtype)
        variants = a.variants or [v for v in VARIANTS[dtype] if not (a.quick and "compile" in v)]
        for batch in a.batch:
            for op in a.op:
                harness.rounds({v: bench.run(v, op, batch) for v in variants}, 3 if a.quick else a.runs,
                               op=op, case=a.case, dtype=dtype, batch=batch, malloc=a.malloc)
    return 0


if __name__ == "__main__":
    sys.exit(main())
