#!/usr/bin/env python3
"""Fits how long a step takes against processes and bandwidth, and draws what that says of 8, 64 and 512 GPUs.

    benches/scaling.py            reads docs/scaling.csv, prints the tables of docs/scaling.md, writes docs/scaling.svg

The model: a step of N processes computes for C seconds, and sends its gradients, G bytes, meanwhile. A ring takes
X = 2 (N - 1) / N * G / (e B) seconds on links of B bytes a second, of which it gets the share e; what does not fit into
the share h of the computing is waited for, and in any case the last bucket, one of b:

    T = C + max(X / b, X - h C)

C, h and e are fitted to the measured points by least squares of relative errors.
"""
import csv
import math
import pathlib

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"

# Of a recipe: bytes of gradients (fqgan-train traffic), operations of a step a picture (cargo bench --bench train), and
# pictures a GPU.
RECIPES = {
    "tokenizer-dual-f16": (612.71e6, 1278e9, 32),
    "far-b": (1668.42e6, 674e9, 32),
}
# Bytes that travel together.
BUCKET = 4 << 20
# What a GPU is taken to do a second: two fifths of an H100's peak in f32 without tensor cores, and in bf16. No GPU has
# run this yet.
RATES = {"f32": 0.4 * 67e12, "bf16": 0.4 * 989e12}
# The share e of NCCL's ring, which sends and gets at once: taken, not measured.
NCCL = 0.9
# Bytes a second that a GPU's link takes and gives at once, by where its neighbours in the ring are.
LINKS = {"NVLink (one machine)": 450e9, "400 Gbit/s a GPU": 50e9, "100 Gbit/s a GPU": 12.5e9, "100 Gbit/s for 8 GPUs": 1.5625e9}


def ring(n, size, speed):
    return 2 * (n - 1) / n * size / speed


def step(n, size, speed, computing, hidden):
    time = ring(n, size, speed)
    return computing + max(time / max(1.0, size / BUCKET), time - hidden * computing)


def fit(points):
    """The best C, h, e over a grid that is made finer and finer."""
    def error(c, h, e):
        return sum((step(p["ranks"], p["bytes"], e * p["speed"], c, h) / p["seconds"] - 1) ** 2 for p in points)

    least = min(p["seconds"] for p in points)
    best, ranges = None, [(0.7 * least, 1.1 * least), (0.05, 1.0), (0.2, 1.0)]
    for _ in range(6):
        grid = [[low + (high - low) * i / 24 for i in range(25)] for low, high in ranges]
        best = min(((error(c, h, e), c, h, e) for c in grid[0] for h in grid[1] for e in grid[2]))
        spans = [(high - low) / 6 for low, high in ranges]
        ranges = [(max(0.01, v - s), v + s) for v, s in zip(best[1:], spans)]
    return best[1:], math.sqrt(best[0] / len(points))


def draw(path, hidden):
    """Efficiency against bandwidth, a panel a recipe and precision, a curve a number of GPUs."""
    panels = [(name, kind) for name in RECIPES for kind in RATES]
    width, height, left, top, gap = 330, 220, 60, 50, 90
    low, high = 1e9, 1e12
    colours = {8: "#1b6ca8", 64: "#c8553d", 512: "#588157"}
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * (width + gap) + 10} {2 * (height + gap) + 20}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (name, kind) in enumerate(panels):
        x0, y0 = left + (width + gap) * (number % 2), top + (height + gap) * (number // 2)
        size, flops, pictures = RECIPES[name]
        computing = flops * pictures / RATES[kind]
        across = lambda speed: x0 + width * math.log(speed / low) / math.log(high / low)
        up = lambda part: y0 + height * (1 - part)
        out.append(f'<text x="{x0}" y="{y0 - 12}" font-size="14">{name}, {kind}, {pictures} pictures a GPU</text>')
        for part in (0, 0.25, 0.5, 0.75, 1):
            out.append(f'<path d="M{x0} {up(part):.1f}h{width}" stroke="#ddd"/>')
            out.append(f'<text x="{x0 - 6}" y="{up(part) + 4:.1f}" text-anchor="end">{100 * part:.0f} %</text>')
        for speed in (1e9, 1e10, 1e11, 1e12):
            out.append(f'<path d="M{across(speed):.1f} {y0}v{height}" stroke="#ddd"/>')
            out.append(f'<text x="{across(speed):.1f}" y="{y0 + height + 16}" text-anchor="middle">{speed / 1e9:.0f}</text>')
        out.append(f'<text x="{x0 + width / 2}" y="{y0 + height + 32}" text-anchor="middle">GB/s of a GPU\'s link</text>')
        for n, colour in colours.items():
            speeds = [low * (high / low) ** (i / 120) for i in range(121)]
            curve = [(across(s), up(computing / step(n, size, NCCL * s, computing, hidden))) for s in speeds]
            words = "L".join(f"{x:.1f} {y:.1f}" for x, y in curve)
            out.append(f'<path d="M{words}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for i, (n, colour) in enumerate(colours.items()):
            out.append(f'<text x="{x0 + width - 6}" y="{y0 + height - 44 + 16 * i}" text-anchor="end" fill="{colour}">{n} GPUs</text>')
    path.write_text("\n".join(out + ["</svg>", ""]))


def main():
    points = []
    with open(DOCS / "scaling.csv", newline="") as file:
        for row in csv.DictReader(file):
            points.append({key: float(value) for key, value in row.items()})
    (computing, hidden, share), error = fit(points)
    print(f"C = {1e3 * computing:.0f} ms, h = {hidden:.2f}, e = {share:.2f}; error {100 * error:.1f} % (root of the mean square)\n")
    print("| processes | cable, Mbit/s | step, ms | model, ms |\n|---|---|---|---|")
    for p in points:
        model = step(p["ranks"], p["bytes"], share * p["speed"], computing, hidden)
        print(f"| {p['ranks']:.0f} | {8 * p['speed'] / 1e6:.0f} | {1e3 * p['seconds']:.0f} | {1e3 * model:.0f} |")
    print("\n| recipe | precision | computing, ms | link | 8 GPUs, ms | 64 | 512 | wanted for nothing to wait, GB/s |\n|---|---|---|---|---|---|---|---|")
    for name, (size, flops, pictures) in RECIPES.items():
        for kind, rate in RATES.items():
            computing = flops * pictures / rate
            enough = 2 * size / (NCCL * hidden * computing)
            for link, speed in LINKS.items():
                steps = [step(n, size, NCCL * speed, computing, hidden) for n in (8, 64, 512)]
                if link.startswith("NVLink"):
                    steps = steps[:1] + [None, None]
                cells = " | ".join("" if s is None else f"{1e3 * s:.0f}" for s in steps)
                print(f"| {name} | {kind} | {1e3 * computing:.0f} | {link} | {cells} | {enough / 1e9:.1f} |")
    draw(DOCS / "scaling.svg", hidden)


if __name__ == "__main__":
    main()
