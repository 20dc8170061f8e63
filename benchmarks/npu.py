"""What pruning buys on NPUs that are not here, by their compilers' estimates: `python -m benchmarks.npu`.

A MobileNetV2 at 96 pixels, a ResNet-18 and a chain of four 3x3 convolutions at 64, a keyword-spotting CNN on 49 frames
of 10 coefficients and a small MLP, at batch 1 with random weights, are pruned by channels (in the chip's own multiple,
and at 53 % in no multiple), in 2:4 and as single weights, and compiled for each chip. Where the compiler's estimates
decide it, layers whose zeros lower no estimate are dense again: the table counts those that keep their zeros. Flash is
the constants as packed, SRAM the most that is held at a time; the advice is the pattern of the largest gain. The
Ethos-U run in int8, the RK3588 in float16. No number was timed on a chip. What is there is not computed again but with
`--fresh`; `--quick` takes the MLP alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.masks import cpu_name
from benchmarks.models import MobileNetV2, ResNet18, conv_bn
from jupyter_hwprune.choose.choice import Choice, choose
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.errors import HwpruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import NM, Channel, Pattern, Unstructured
from jupyter_hwprune.measure.bench import Bench
from jupyter_hwprune.measure.candidates import Candidate, Findings
from jupyter_hwprune.measure.rating import Settled, settled_by_estimates
from jupyter_hwprune.measure.writing import bench_for, candidate
from jupyter_hwprune.pruning import plan_and_prune, prune
from jupyter_hwprune.pruning.channels import Channels
from jupyter_hwprune.pruning.method import MAGNITUDE
from jupyter_hwprune.pruning.planning import plan_channels
from jupyter_hwprune.pruning.served import Served
from jupyter_hwprune.toolchains.process import private_folder

RESULTS = Path(__file__).parent / "results" / "npu.json"
CHIPS = {  # target -> its configuration
    "ethos-u55": ("ethos-u55-128",),
    "ethos-u65": ("ethos-u65-256",),
    "ethos-u85": ("ethos-u85-256",),
    "rk3588": (),
}
ZEROS: tuple[tuple[Pattern, float], ...] = (
    (NM(2, 4), 0.5),
    *((Unstructured(), share) for share in (0.5, 0.75, 0.9)),
)
UNALIGNED: tuple[Pattern, float] = (Channel(1), 0.53)
COLUMNS = ("pattern", "removed", "cycles", "estimated", "flash, KB", "SRAM, KB", "zeros stay in", "layers slower")


class KeywordSpotting(nn.Sequential):
    """The shape of a depthwise-separable CNN for keywords (Zhang et al. 2017, arXiv:1711.07128, its medium size)."""

    def __init__(self) -> None:
        width = 172
        blocks = [
            nn.Sequential(conv_bn(width, width, 3, groups=width), nn.ReLU(), conv_bn(width, width, 1), nn.ReLU())
            for _ in range(4)
        ]
        stem = (nn.Conv2d(1, width, (10, 4), (2, 1), (4, 1)), nn.BatchNorm2d(width), nn.ReLU())
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 12))


def chain() -> nn.Module:
    """Return convolutions whose weights are few beside their products, as in the early half of larger networks."""
    widths = ((3, 32), (32, 64), (64, 64), (64, 64))
    convolutions = [nn.Sequential(conv_bn(*each, 3), nn.ReLU()) for each in widths]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (mlp, lambda: torch.randn(1, 512)),
    "chain": (chain, lambda: torch.randn(1, 3, 64, 64)),
    "keywords": (KeywordSpotting, lambda: torch.randn(1, 1, 49, 10)),
    "resnet18": (ResNet18, lambda: torch.randn(1, 3, 64, 64)),
    "mobilenet_v2": (MobileNetV2, lambda: torch.randn(1, 3, 96, 96)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--chips", nargs="*", default=list(CHIPS), choices=list(CHIPS))
    parser.add_argument("--fresh", action="store_true", help="compute again what is there")
    parser.add_argument("--quick", action="store_true", help="the MLP on one chip, and nothing is written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.quick:
        print(table({f"mlp on {options.chips[0]}": estimated("mlp", options.chips[0])}))
        return
    cells = json.loads(options.out.read_text())["cells"] if options.out.exists() else {}
    for network in options.networks:
        for chip in options.chips:
            name = f"{network} on {'-'.join(CHIPS[chip]) or chip}"
            if name in cells and not options.fresh:
                continue
            since = time.perf_counter()
            cells[name] = estimated(network, chip)
            cells = {key: cells[key] for key in sorted(cells)}
            data = {"cpu": cpu_name(), "cells": cells}
            options.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            options.out.with_suffix(".md").write_text(table(cells), encoding="utf-8")
            print(f"{name}: {time.perf_counter() - since:.0f} s", file=sys.stderr, flush=True)
    print(table(cells))


def estimated(network: str, chip: str) -> dict[str, Any]:
    """Estimate all patterns of a network on a chip in one call of its compiler, and again those that lost layers."""
    torch.manual_seed(0)
    build, make_input = NETWORKS[network]
    dense, example = build().eval(), Example.of(make_input())
    choice = choose(chip, config=CHIPS[chip]).for_model_in("float32")
    with private_folder() as folder:
        bench = bench_for(dense, example, choice, folder, lambda *_: None, QUICK)
        rows = [_Row(bench, dense, example, *each) for each in _patterns(choice)]
        waiting = [row for row in rows if row.error is None]
        while waiting:
            found = bench.measure([row.candidate() for row in waiting])
            waiting = [row for row, each in zip(waiting, found, strict=True) if row.settle(each)]
    versions = next((row.found.versions for row in rows if row.found and row.found.versions), {})
    return {"rows": [row.facts() for row in rows], "versions": versions, "dtype": choice.dtype}


def _patterns(choice: Choice) -> Iterator[tuple[Pattern, float]]:
    channels = next(each.pattern for each in choice.judge.offers if isinstance(each.pattern, Channel))
    yield from ((channels, share) for share in (0.3, 0.5, 0.7))
    yield UNALIGNED
    yield from ZEROS


class _Row:
    """One pattern at its share: the pruned model as far as it is settled, and what was found of it."""

    def __init__(self, bench: Bench, dense: nn.Module, example: Example, pattern: Pattern, share: float) -> None:
        self.bench, self.dense, self.example, self.pattern, self.share = bench, dense, example, pattern, share
        self.choice = replace(bench.choice, pattern=pattern, sparsity=share)
        self.error: str | None = None
        self.found: Findings | None = None
        try:
            if isinstance(pattern, Channel):
                groups = Channels.of(dense, example)
                pruned = prune(dense, example, plan_channels(groups, pattern, share), channels=groups)
            else:
                pruned = plan_and_prune(dense, example, pattern, share, MAGNITUDE, Served.of(self.choice))
            self.settled = Settled(pruned, self.choice)
        except HwpruneError as error:
            self.error = str(error)

    def candidate(self) -> Candidate:
        name = f"{self.pattern}-{self.share}-{len(self.settled.pruned.returned)}".replace(":", "").replace("/", "")
        one = candidate(self.bench, self.dense, self.settled, self.example, name)
        return replace(one, channels=isinstance(self.pattern, Channel))

    def settle(self, found: Findings) -> bool:
        """Keep what was found; say whether layers are dense again, so that it has to be found anew."""
        self.found = found
        before, self.settled = self.settled, settled_by_estimates(self.dense, self.settled, found)
        return self.settled is not before

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"pattern": str(self.pattern), "removed": self.share}
        if self.found is None:
            return facts | {"error": self.error}
        if self.found.measurement.kind != "estimated":
            return facts | {"error": self.found.measurement.evidence.reason}
        estimate, footprint, check = self.found.measurement, self.found.footprint, self.found.check
        layers = [each.estimate for each in self.found.layers if each.estimate is not None]
        sizes = (
            [None if each is None else vars(each) for each in (footprint.dense, footprint.pruned)] if footprint else []
        )
        return facts | {
            "cycles": [estimate.dense, estimate.pruned],
            "unit": estimate.unit,
            "memory": sizes,
            "pruned_layers": len(self.settled.pruned.layers),
            "dense_again": len(self.settled.pruned.returned),
            "slower_layers": sum(each.pruned > each.dense for each in layers),
            "error_of_outputs": [check.dense_error, check.pruned_error] if check else None,
        }


def table(cells: dict[str, Any]) -> str:
    lines = ["| network and chip | " + " | ".join(COLUMNS) + " |", "|" + " --- |" * (len(COLUMNS) + 1)]
    for name, cell in cells.items():
        lines += [f"| {name} | {line} |" for line in map(_line, cell["rows"])]
    lines += [
        "",
        "| network and chip | advice | estimated | advice among patterns of zeros | estimated |",
        "|" + " --- |" * 5,
    ]
    for name, cell in cells.items():
        good = [row for row in cell["rows"] if "cycles" in row]
        zeros = [row for row in good if not row["pattern"].startswith("channel")]
        lines.append(f"| {name} | " + " | ".join((*_best(good), *_best(zeros))) + " |")
    found: dict[str, str] = {}
    for cell in cells.values():
        found = found | cell["versions"]
    said = ", ".join(f"{name} {version}" for name, version in sorted(found.items()) if name not in {"python", "numpy"})
    return "\n".join([*lines, "", f"Estimates with {said}, compiled on {cpu_name()}; none was timed on a chip.", ""])


def _line(row: dict[str, Any]) -> str:
    first = [row["pattern"], f"{row['removed']:.0%}"]
    if "cycles" not in row:
        return " | ".join([*first, str(row["error"]).replace("|", "/")[:160], *[""] * 5])
    dense, pruned = row["cycles"]
    zeros = "" if row["pattern"].startswith("channel") else f"{row['pruned_layers']} of "
    zeros += f"{row['pruned_layers'] + row['dense_again']}" if zeros else ""
    cells = [
        f"{dense:,.0f} -> {pruned:,.0f}",
        f"{dense / pruned:.2f}x",
        _kb(row["memory"], "weight_bytes"),
        _kb(row["memory"], "sram_bytes"),
        zeros,
        str(row["slower_layers"]),
    ]
    return " | ".join([*first, *cells])


def _kb(memory: list[dict[str, int | None] | None], name: str) -> str:
    sizes = [None if each is None else each[name] for each in memory]
    known = [f"{size / 1024:,.0f}" for size in sizes if size is not None]
    return " -> ".join(known) if len(known) == 2 else "not told"


def _best(rows: list[dict[str, Any]]) -> tuple[str, str]:
    gains = [(row["cycles"][0] / row["cycles"][1], row) for row in rows]
    best = max(gains, key=lambda each: each[0], default=None)
    if best is None or best[0] <= 1:
        return "none pays", ""
    return f"{best[1]['pattern']} at {best[1]['removed']:.0%}", f"{best[0]:.2f}x"


if __name__ == "__main__":
    main()
