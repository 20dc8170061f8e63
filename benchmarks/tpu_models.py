"""What block sparsity buys whole networks on a TPU, by the compiler's estimate: `python -m benchmarks.tpu_models`.

Two layers of a BERT-like encoder (width 1024, 8 x 128 tokens), two of a ViT-like one (width 768, 8 images of 224 x 224
in patches of 16) and a bottleneck of a ResNet (1024 channels, 256 within, 14 x 14, batch 8), in bfloat16, are pruned in
256x256 blocks, as many kept for each group of outputs, compiled dense and pruned, and checked against torch. 1x1
convolutions are products of matrices and skip blocks by the same kernel; others stay dense. Attention, norms and what
stays dense are in the whole. Every number is an estimate, none was timed on a TPU. `--quick` takes the bottleneck only.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.masks import cpu_name
from benchmarks.tpu import PATTERN
from jupyter_hwprune import hwprune

RESULTS = Path(__file__).parent / "results" / "tpu_models.json"
TARGETS = ("tpu-v5e", "tpu-v6e")
SHARE = 0.75
COLUMNS = ("chip", "network", "dense -> pruned, ms", "ratio", "matrix units used", "layers that skip blocks", "error")


class Encoder(nn.Module):
    """One layer of a transformer's encoder. [B, L, width] -> [B, L, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](x)
        q, k, v = (own(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for own in (self.q, self.k, self.v))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        mlp: Tensor = self.mlp(self.norms[1](x))
        return x + mlp


class Patches(nn.Module):
    """[B, 3, 224, 224] -> [B, 196, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 16, stride=16)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y.flatten(2).transpose(1, 2)


class Bottleneck(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        parts = [(width, inner, 1), (inner, inner, 3), (inner, width, 1)]
        self.convs = nn.ModuleList([nn.Conv2d(a, b, side, padding=side // 2, bias=False) for a, b, side in parts])
        self.norms = nn.ModuleList([nn.BatchNorm2d(b) for _, b, _ in parts])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for at, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = y + x if at == len(self.convs) - 1 else y
            y = functional.relu(y)
        return y


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    return {
        "bottleneck": (Bottleneck(1024, 256), torch.randn(8, 1024, 14, 14)),
        "BERT-like": (nn.Sequential(Encoder(1024, 16), Encoder(1024, 16)), torch.randn(8, 128, 1024)),
        "ViT-like": (nn.Sequential(Patches(768), Encoder(768, 12), Encoder(768, 12)), torch.randn(8, 3, 224, 224)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the bottleneck only")
    parser.add_argument("--chips", nargs="*", default=TARGETS)
    parser.add_argument("--networks", nargs="*", default=list(networks()))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    for name in ["bottleneck"] if options.quick else options.networks:
        for chip in options.chips:
            found = estimate(chip, name)
            rows = [each for each in rows if (each["chip"], each["network"]) != (chip, name)] + [found]
            rows.sort(key=lambda each: (each["network"], each["chip"]))
            data = {"cpu": cpu_name(), "pattern": PATTERN, "zeros": SHARE, "rows": rows}
            options.out.write_text(json.dumps(data, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(table(rows) + "\n")
            print(chip, name, "estimated", file=sys.stderr, flush=True)
    print(table(rows))


def estimate(chip: str, name: str) -> dict[str, Any]:
    model, x = networks()[name]
    report = hwprune(model.eval(), x, target=chip, pattern=PATTERN, sparsity=SHARE).report
    if report.measurement.kind != "estimated" or report.check is None:
        raise SystemExit(f"nothing was estimated for {chip}: {report.measurement.evidence.reason}")
    return {
        "chip": chip,
        "network": name,
        "ms": [report.measurement.dense, report.measurement.pruned],
        "utilization": [report.measurement.dense_utilization, report.measurement.pruned_utilization],
        "layers": {each.name: each.pruned_kernel for each in report.layers},
        "sparse": [each.name for each in report.layers if each.used],
        "skipped": [each.name for each in report.skipped],
        "error": report.check.pruned_error,
        "versions": report.versions,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for each in rows:
        dense, pruned = each["ms"]
        cells = [
            each["chip"],
            each["network"],
            f"{dense:.3g} -> {pruned:.3g}",
            f"{dense / pruned:.2f}x",
            " -> ".join(f"{share:.0%}" for share in each["utilization"]),
            f"{len(each['sparse'])} of {len(each['layers']) + len(each['skipped'])}",
            f"{each['error']:.1e}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    versions = rows[-1]["versions"]
    said = ", ".join(f"{name} {versions[name]}" for name in ("jax", "libtpu", "torch"))
    about = (
        f"{SHARE:.0%} of the blocks are zero. Estimates with {said}, compiled on {cpu_name()}; none was timed on a TPU."
    )
    return "\n".join([*lines, "", about])


if __name__ == "__main__":
    main()
