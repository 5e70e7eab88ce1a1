#!/usr/bin/env python3
"""What scripts/ablation.sh left in a folder, as tables (table.md) and curves (curves.svg): ablation-table.py OUT"""
import json
import sys
from pathlib import Path

TOKENIZERS = {"vqgan": "VQGAN, one codebook", "factorized": "factorized", "disentangle": "+ disentanglement",
              "semantic": "+ representation learning", "both": "+ both"}
HEADS = {"ar": "factorized autoregressive", "linear": "linear classifiers", "mlp": "MLP classifiers"}
COLOURS = ["#888888", "#1f77b4", "#2ca02c", "#ff7f0e", "#d62728"]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in open(folder / "scalars.jsonl")]


def course(rows: list[dict], name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None]


def last(rows: list[dict], name: str) -> float:
    return course(rows, name)[-1][1]


def shares(rows: list[dict], begin: str) -> str:
    names = sorted({name for row in rows for name in row if name.startswith(begin)}, reverse=True)  # vis, sem
    return ", ".join(f"{100 * last(rows, name):.1f} %" for name in names)


def tables(out: Path) -> str:
    text = ["| tokenizer | held-out PSNR | codes in use, held out | in training | disentanglement | semantic |", "|---|---|---|---|---|---|"]
    for row, title in TOKENIZERS.items():
        r = lines(out / row)
        term = lambda name: f"{last(r, name):.4f}" if course(r, name) else "-"
        text.append(f"| {title} | {last(r, 'held_out_psnr'):.2f} dB | {shares(r, 'held_out_usage')} | {shares(r, 'usage')} "
                    f"| {term('disentangle')} | {term('semantic_demo')} |")
    text += ["", "| head | held-out bits of a picture | of a code of vis | of sem |", "|---|---|---|---|"]
    for row, title in HEADS.items():
        r = lines(out / row)
        bits = [last(r, name) for name in ("held_out_bits", "held_out_bits_1", "held_out_bits_2")]
        text.append(f"| {title} | {bits[0]:.1f} | {bits[1]:.2f} | {bits[2]:.2f} |")
    accuracy = last(lines(out / "teacher"), "held_out_accuracy")
    return "\n".join(text + ["", f"The teacher names the category of {100 * accuracy:.1f} % of the held-out pictures.", ""])


def panel(x0: int, title: str, curves: dict[str, list[tuple[int, float]]]) -> list[str]:
    width, height, left, top = 330, 210, 52, 28
    points = [p for curve in curves.values() for p in curve]
    most = max(step for step, _ in points)
    low, high = min(v for _, v in points), max(v for _, v in points)
    at = lambda step, value: (x0 + left + width * step / most, top + height * (high - value) / (high - low or 1))
    svg = [f'<text x="{x0 + left}" y="16" font-weight="bold">{title}</text>',
           f'<rect x="{x0 + left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>']
    for i in range(5):
        value = low + (high - low) * i / 4
        y = at(0, value)[1]
        svg.append(f'<line x1="{x0 + left}" x2="{x0 + left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        svg.append(f'<text x="{x0 + left - 4}" y="{y + 4:.1f}" text-anchor="end">{value:.{1 if high > 2 else 2}f}</text>')
        step = most * i // 4
        svg.append(f'<text x="{at(step, low)[0]:.1f}" y="{top + height + 15}" text-anchor="middle">{step}</text>')
    for i, (name, curve) in enumerate(curves.items()):
        path = " ".join("{:.1f},{:.1f}".format(*at(*p)) for p in curve)
        svg.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[i]}" stroke-width="1.6"/>')
        svg.append(f'<text x="{x0 + left}" y="{top + height + 34 + 15 * i}" fill="{COLOURS[i]}">{name}</text>')
    return svg


def curves(out: Path) -> str:
    tokenizers = {title: lines(out / row) for row, title in TOKENIZERS.items()}
    heads = {title: lines(out / row) for row, title in HEADS.items()}
    usage = lambda rows: course(rows, "held_out_usage" if course(rows, "held_out_usage") else "held_out_usage_sem")
    svg = panel(0, "held-out PSNR, dB", {t: course(r, "held_out_psnr") for t, r in tokenizers.items()})
    svg += panel(400, "codes in use, held out (the last sub-codebook)", {t: usage(r) for t, r in tokenizers.items()})
    svg += panel(800, "held-out bits of a picture", {t: course(r, "held_out_bits") for t, r in heads.items()})
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 345" font-family="sans-serif" font-size="11">'
    return "\n".join([head, '<rect width="1200" height="345" fill="white"/>', *svg, "</svg>", ""])


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    (out / "table.md").write_text(tables(out))
    (out / "curves.svg").write_text(curves(out))
    print(tables(out), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
