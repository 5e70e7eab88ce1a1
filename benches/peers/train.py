#!/usr/bin/env python3
"""Times a training step: benches/peers/train.py [--case far_b_dual] [--threads 2] [--batch 2] [--dtype f32,bf16]

Of the tokenizer: forward, the losses without teachers and discriminator, backward, clipping, Adam. Of FAR: the cross
entropy of a whole picture's codes with nothing dropped, and AdamW. One JSON line for each variant of f32 (eager,
channels-last) and bf16 (autocast). With --serve it answers lines `step BATCH` with milliseconds.
"""
import itertools
import sys

import harness
import torch
import torch.nn.functional as F

import model

VARIANTS = {"f32": ["eager", "channels-last"], "bf16": ["autocast+eager", "autocast+channels-last"]}
FAR_VARIANTS = {"f32": ["eager"], "bf16": ["autocast+eager"]}


def losses(m: model.Tokenizer, x: torch.Tensor) -> torch.Tensor:
    total, quantized = 0.0, []
    for z, book in zip(m.latents(x), m.codebooks()):
        b, d, h, w = z.shape
        with torch.autocast("cpu", enabled=False):
            z = F.normalize(z.float().flatten(2).transpose(1, 2).flatten(0, 1), dim=1)
            e = F.normalize(book.embedding.weight, dim=1)
            distance = z.square().sum(1, keepdim=True) + e.square().sum(1) - 2 * z @ e.T
            q = e[distance.argmin(1)]
            total = total + F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
            a = -distance / 0.01
            p, log_p = a.softmax(1), (a + 1e-5).log_softmax(1)
            mean = p.mean(0)
            entropy = -(p * log_p).sum(1).mean() + (mean * (mean + 1e-5).log()).sum()
            total = total + 0.03 * entropy
            q = z + (q - z).detach()
        quantized.append(q.view(b, h, w, d).permute(0, 3, 1, 2))
    pairs = list(itertools.combinations([F.normalize(q, dim=1) for q in quantized], 2))
    for one, other in pairs:
        total = total + 0.1 * (one * other).sum(1).square().mean() / len(pairs)
    return total + F.mse_loss(m.decode_embedded(quantized).float(), x.float())


class Bench:
    def __init__(self, args):
        self.args, self.models = args, {}

    def run(self, variant: str, batch: int) -> harness.Run:
        words = variant.split("+")
        last = "channels-last" in words
        if last not in self.models:
            m = model.tokenizer(self.args.case, None, "both", torch.float32, last).train().requires_grad_(True)
            adam = torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.9, 0.95), fused=True)
            self.models[last] = m, adam
        m, adam = self.models[last]
        x = torch.rand(batch, 3, 256, 256, generator=torch.Generator().manual_seed(7)).mul_(2).sub_(1)
        x = x.contiguous(memory_format=torch.channels_last) if last else x

        def once():
            adam.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in words):
                loss = losses(m, x)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            adam.step()
            return loss.item()
        return once


class FarBench:
    def __init__(self, args):
        tensors = model.manifest(args.case, model.golden_dir(args.golden))["tensors"]
        torch.manual_seed(1)
        self.model = model.far(args.case, tensors, None).train().requires_grad_(True)
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        vectors = [p for p in self.model.parameters() if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=2e-4, betas=(0.9, 0.95), fused=True)

    def run(self, variant: str, batch: int) -> harness.Run:
        m, adam = self.model, self.adam
        g = torch.Generator().manual_seed(7)
        codes = torch.randint(m.embedding(1).num_embeddings, (batch, 256, m.k), generator=g)
        classes = torch.randint(1000, (batch,), generator=g)

        def once():
            adam.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in variant.split("+")):
                logits = m(classes, codes)
            each = [F.cross_entropy(x.float().flatten(0, 1), codes[..., i].flatten()) for i, x in enumerate(logits)]
            loss = sum(each) / len(each)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            adam.step()
            return loss.item()
        return once


def main() -> int:
    a = harness.parser(__doc__, "tokenizer_dual_vq16", "2").parse_args()
    if len(a.threads) > 1:
        return harness.children(threads=a.threads)
    far = a.case.startswith("far")
    known = FAR_VARIANTS if far else VARIANTS
    if a.memory and not a.variants:
        return harness.children(variants=[v for d in a.dtype for v in known[d]])
    harness.start(a, freezing=False)
    bench = FarBench(a) if far else Bench(a)
    if a.memory:
        harness.memory(lambda: bench.run(a.variants[0], a.batch[0]), a, "step")
        return 0
    if a.serve:
        variant = (a.variants or known["f32"][-1:])[0]
        harness.serve(lambda _, batch: bench.run(variant, batch))
        return 0
    for dtype in a.dtype:
        for batch in a.batch:
            runs = {v: bench.run(v, batch) for v in a.variants or known[dtype]}
            harness.rounds(runs, 2 if a.quick else a.runs, case=a.case, dtype=dtype, batch=batch, op="step")
    return 0


if __name__ == "__main__":
    sys.exit(main())
