"""A report for a terminal: at most 120 columns, no colours, nothing that a plain log would garble."""

from __future__ import annotations

import textwrap

from ..report import Report
from . import words

WIDTH = 118
LAYERS = 20
COLUMNS = ("layer", "weight", "sparse", "MACs", "us", "valid", "used", "speed", "kernel")


def render(report: Report) -> str:
    lines = [f"hwprune: {words.what(report)}", ""]
    interval = words.interval(report.deciding)
    lines += [words.headline(report) + (f"   ({interval})" if interval else ""), ""]
    rows = words.facts(report) + [("why", reason) for reason in report.reasons]
    for name, said in rows:
        lines += textwrap.wrap(said, WIDTH, initial_indent=f"  {name:<13}", subsequent_indent=" " * 15)
    lines += ["", *_table(report)]
    for said in words.returned(report)[:8]:
        lines += textwrap.wrap(said, WIDTH, initial_indent="  dense again  ", subsequent_indent=" " * 15)
    for said in words.left_dense(report.skipped)[:8]:
        lines += textwrap.wrap(said, WIDTH, initial_indent="  left dense   ", subsequent_indent=" " * 15)
    lines += [f"  {line}" for line in report.omitted]
    return "\n".join(lines)


def _table(report: Report) -> list[str]:
    layers = words.by_weight(report)
    cells = [
        (
            words.name(layer, 20),
            words.shapes(layer).replace(" ", ""),
            words.share(layer.sparsity),
            _arrow(words.count(layer.macs), words.count(layer.pruned_macs)),
            _arrow(words.microseconds(layer.dense_us), words.microseconds(layer.pruned_us)),
            words.valid(layer),
            _dash(words.yes_no(layer.used)),
            _dash(words.speed(layer.speed)),
            _dash(words.kernels(layer)),
        )
        for layer in layers[:LAYERS]
    ]
    widths = [max(len(row[i]) for row in (COLUMNS, *cells)) for i in range(len(COLUMNS))]
    gap = "  " if 2 + sum(widths) + 2 * len(widths) <= WIDTH else " "
    lines = []
    for row in (COLUMNS, *cells):
        line = ("  " + gap.join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip()
        lines.append(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…")
    if len(layers) > LAYERS:
        lines.append(f"  and {len(layers) - LAYERS} more layers, each below these; `.report.layers` holds all of them")
    if any(layer.dense_us is None for layer in layers):
        lines.append("  - is: not measured")
    if any(layer.utilization is not None for layer in layers):
        lines += textwrap.wrap(words.UTILIZATION, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if (others := words.other_kernels(report)) is not None:
        lines.append(f"  kernels of no pruned layer: {others}")
    return [*lines, ""]


def _dash(cell: str) -> str:
    return "-" if cell == words.UNKNOWN else cell


def _arrow(before: str, after: str) -> str:
    return "-" if words.UNKNOWN in {before, after} else f"{before}→{after}".replace(" ", "")
