"""Render a report for a terminal: without colours, safe in a plain log, and as wide as the terminal."""

import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from ..report import Report, words
from ..report.words import Key, Words
from ..report.words.corners import Table
from ..report.words.numbers import UNKNOWN, distinct_cuts

WIDTH = 120  # of a notebook's page, and the most that is used of a terminal
NARROWEST, ROOMY = 40, 60
LAYERS = 20
COLUMNS: tuple[Key, ...] = ("weight", "removed", "macs", "time", "valid", "used", "faster", "kernel")
SHORT = {"removed": "sparse", "time, µs": "µs", "faster": "speed"}
DISPENSABLE = ("weight", "macs", "kernel", "removed", "time")  # the columns that a narrow terminal drops, in this order
UNIT = re.compile(r"(?<=\d) (?=(?:%|[mµn]?s|[kMG]?B)(?!\w))")  # the space before it
ENOUGH = 24  # columns left for the kernel's name, which comes last and may be cut


def render(report: Report, width: int | None = None) -> str:
    """Return the report in lines of at most `width` characters; None takes the terminal's width."""
    most = (width or terminal_width()) - 2
    said = words.words_of(report)
    verdict = said.headline + (f"   ({said.interval})" if said.interval else "")
    lines = [*_filled(f"hwprune: {said.title}", most), "", *_filled(verdict, most), ""]
    for step in report.next_steps:  # each line whole, to be copied
        lines += [*_filled(f"Next: {step.what}:", most), *(f"  {part}" for part in step.line.splitlines()), ""]
    for table in filter(None, [said.corners, said.runtimes, said.search, said.training]):
        lines += [*_side_by_side(table, most), ""]
    lines += _wrapped([(fact.name, fact.said) for fact in said.facts], most)
    lines += _wrapped([(each.code, words.mistake(each)) for each in report.mistakes], most)
    lines += _wrapped([("why", each) for each in report.reasons], most)
    lines += ["", *_table(report, said, most), ""]
    lines += _wrapped([("dense again", each) for each in said.returned[:8]], most)
    lines += _wrapped([("left dense", each) for each in said.left_dense[:8]], most)
    lines += _wrapped([("", each) for each in report.omitted], most)
    return "\n".join(lines)


def terminal_width() -> int:
    """Return the width of the terminal; a notebook, a pipe and a log have a fixed width.

    This asks the terminal itself: shutil prefers the variable COLUMNS, which is stale after a window is resized.
    """
    try:
        own = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return WIDTH
    return min(WIDTH, max(own, NARROWEST)) if own else WIDTH


def _wrapped(named: Sequence[tuple[str, str]], most: int) -> Iterator[str]:
    for name, said in named:
        head = f"  {name:<13}" if name else "  "
        rest = " " * len(head)
        yield from _filled(said, most, initial_indent=head, subsequent_indent=rest, break_on_hyphens=False)


def _filled(said: str, most: int, **how: Any) -> list[str]:
    """Wrap as textwrap does, but leave a number and its unit on one line."""
    joined = UNIT.sub("\N{NO-BREAK SPACE}", said)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(joined, most, **how)]


def _table(report: Report, said: Words, most: int) -> list[str]:
    names = {column.key: SHORT.get(column.name, column.name) for column in said.columns}
    rows = words.rows(report, said.columns)
    heads = {"layer": "layer"} | {key: names[key] for key in COLUMNS}
    width = 20 if most >= ROOMY else 10
    names_cut = distinct_cuts([words.name(layer) for layer, _ in rows[:LAYERS]], width)
    cells = [
        {"layer": names_cut[words.name(layer)]} | {key: _short(key, cell[key]) for key in COLUMNS}
        for layer, cell in rows[:LAYERS]
    ]
    lines = [line if len(line) <= most else line[: most - 1] + "…" for line in _columns([heads, *cells], most)]
    if len(rows) > LAYERS:
        more = f"and {len(rows) - LAYERS} more layers, each below these; `.report.layers` holds all of them"
        lines += _wrapped([("", more)], most)
    if any("-" in row.values() for row in cells):
        lines.append("  - is: not measured")
    return [*lines, *_wrapped([("", note) for note in said.notes], most)]


def _side_by_side(table: Table, most: int) -> list[str]:
    """Lay out a table of models; where it is too wide, each model is a line of its own words."""
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    if sum(widths) + 2 * len(widths) <= most:
        rows = (table.head, *table.rows)
        return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    said = [
        (row[0], ", ".join(f"{name} {cell}" for name, cell in zip(table.head[1:], row[1:], strict=True) if cell))
        for row in table.rows
    ]
    return list(_wrapped(said, most))


def _columns(rows: list[dict[str, str]], most: int) -> list[str]:
    """Lay the rows out, and drop the least important columns until they fit."""
    shown = list(rows[0])
    widths = {name: max(len(row[name]) for row in rows) for name in shown}
    gap = "  "

    def needed() -> int:
        return 2 + sum(min(widths[name], ENOUGH) if name == "kernel" else widths[name] for name in shown)

    for name in DISPENSABLE:
        if needed() + 2 * (len(shown) - 1) > most:
            gap = " "
        if needed() + len(shown) - 1 > most:
            shown.remove(name)
    return [("  " + gap.join(row[name].ljust(widths[name]) for name in shown)).rstrip() for row in rows]


def _short(key: Key, cell: str) -> str:
    """Return a cell as narrow as possible; - if either of its values was not measured."""
    if key in {"macs", "time"} and UNKNOWN in cell:
        return "-"
    if key in {"weight", "macs", "time"}:
        return cell.replace(" ", "")
    return "-" if cell == UNKNOWN else cell
