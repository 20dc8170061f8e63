"""A report for a terminal: no colours, nothing that a plain log would garble, and as wide as the terminal is."""

from __future__ import annotations

import os
import sys
import textwrap

from ..report import Report
from . import words

WIDTH = 120  # of a notebook's page, and the most of a terminal's that is used
NARROWEST, ROOMY = 40, 60
LAYERS = 20
COLUMNS = ("layer", "weight", "sparse", "MACs", "µs", "valid", "used", "speed", "kernel")
DISPENSABLE = ("weight", "MACs", "kernel", "sparse", "µs")  # in this order, where the terminal is narrow
ENOUGH = 24  # columns left for the kernel's name, which comes last and may be cut


def render(report: Report, width: int | None = None) -> str:
    """Return the report in lines of at most `width` characters, None for the terminal's own."""
    most = (width or terminal_width()) - 2
    interval = words.interval(report.deciding)
    verdict = words.headline(report) + (f"   ({interval})" if interval else "")
    lines = [*textwrap.wrap(f"hwprune: {words.what(report)}", most), "", *textwrap.wrap(verdict, most), ""]
    for name, fact in words.facts(report) + [("why", reason) for reason in report.reasons]:
        lines += _wrapped(name, fact, most)
    lines += ["", *_table(report, most)]
    for fact in words.returned(report)[:8]:
        lines += _wrapped("dense again", fact, most)
    for fact in words.left_dense(report.skipped)[:8]:
        lines += _wrapped("left dense", fact, most)
    lines += [line for fact in report.omitted for line in _wrapped("", fact, most)]
    return "\n".join(lines)


def terminal_width() -> int:
    """Return the width of the terminal that is written to; a notebook's page, a pipe and a log have a fixed one.

    The terminal itself is asked: the variable COLUMNS, which shutil believes first, outlives a resized window.
    """
    try:
        own = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return WIDTH
    return min(WIDTH, max(own, NARROWEST)) if own else WIDTH


def _wrapped(name: str, said: str, most: int) -> list[str]:
    head = f"  {name:<13}" if name else "  "
    indent = " " * len(head)
    return textwrap.wrap(said, most, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False)


def _table(report: Report, most: int) -> list[str]:
    layers = words.by_weight(report)
    cells = [
        (
            words.name(layer, 20 if most >= ROOMY else 10),
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
    lines = [line if len(line) <= most else line[: most - 1] + "…" for line in _columns([COLUMNS, *cells], most)]
    if len(layers) > LAYERS:
        more = f"and {len(layers) - LAYERS} more layers, each below these; `.report.layers` holds all of them"
        lines += _wrapped("", more, most)
    if any(layer.dense_us is None for layer in layers):
        lines.append("  - is: not measured")
    if any(layer.utilization is not None for layer in layers):
        lines += _wrapped("", words.UTILIZATION, most)
    if (others := words.other_kernels(report)) is not None:
        lines += _wrapped("", f"kernels of no pruned layer: {others}", most)
    return [*lines, ""]


def _columns(rows: list[tuple[str, ...]], most: int) -> list[str]:
    """Lay the rows out, without what can be done without where they would not fit."""
    widths = {name: max(len(row[i]) for row in rows) for i, name in enumerate(COLUMNS)}
    shown = list(COLUMNS)
    gap = "  "

    def needed() -> int:
        return 2 + sum(min(widths[name], ENOUGH) if name == "kernel" else widths[name] for name in shown)

    for name in DISPENSABLE:
        if needed() + 2 * (len(shown) - 1) > most:
            gap = " "
        if needed() + len(shown) - 1 > most:
            shown.remove(name)
    at = [COLUMNS.index(name) for name in shown]
    return [("  " + gap.join(row[i].ljust(widths[COLUMNS[i]]) for i in at)).rstrip() for row in rows]


def _dash(cell: str) -> str:
    return "-" if cell == words.UNKNOWN else cell


def _arrow(before: str, after: str) -> str:
    return "-" if words.UNKNOWN in {before, after} else f"{before}→{after}".replace(" ", "")
