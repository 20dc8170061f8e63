"""Four models in words: a table of dense and pruned in float and in int8, and what each step bought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.errors import counted, first_of
from .numbers import UNKNOWN, count, milliseconds
from .verdict import between, named, said, speed

if TYPE_CHECKING:
    from .. import Corner, Corners, Report

HEAD = ("model", "time", "against dense float32", "95 % interval", "size", "score", "largest output difference")


@dataclass(frozen=True)
class Table:
    """The heads of the columns, and a row of as many cells for each model."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(report: Report) -> Table | None:
    """Return the table; None if the run has no int8 models."""
    corners = report.corners
    if corners is None or not corners.rows:
        return None
    rows = [_row(each) for each in corners.rows]
    shown = [place for place, name in enumerate(HEAD) if name != "score" or any(each[place] for each in rows)]
    return Table(tuple(HEAD[place] for place in shown), tuple(tuple(row[place] for place in shown) for row in rows))


def _row(corner: Corner) -> tuple[str, ...]:
    first = not corner.pruned and corner.dtype != "int8"
    return (
        named(corner),
        milliseconds(corner.ms),
        "1x" if first else speed(corner.speed),
        between(corner.speed),
        UNKNOWN if corner.file_bytes is None else f"{count(corner.file_bytes)}B",
        "" if corner.score is None else f"{corner.score:.4g}",
        UNKNOWN if corner.error is None else f"{100 * corner.error:.2g} %",
    )


def facts(corners: Corners) -> Iterator[tuple[str, str]]:
    """Say what each step bought, how the int8 models were made, and which layers of theirs stay in float."""
    if not corners.rows:
        yield "int8", f"{UNKNOWN}: {corners.evidence.reason}"
        yield "cure", corners.evidence.cure or "none known"
        return
    _, pruned, dense_int8, both = corners.rows
    yield "int8 alone", said(dense_int8.speed)
    yield "pruned alone", said(pruned.speed)
    yield "both", said(both.speed)
    yield "on int8", f"pruning on top of int8: {said(corners.on_int8)}"
    yield "on pruned", f"int8 on top of pruning: {said(corners.on_pruned)}"
    fast = corners.fast_int8
    chip = "" if fast is None else f"; the CPU's int8 instructions: {', '.join(fast) or 'no VNNI and no AMX'}"
    rows = counted(corners.calibration_rows, "calibration row")
    yield "int8 by", f"{corners.quantiser}, ranges from {rows}{chip}"
    if dense_int8.int8_layers is not None and both.int8_layers is not None:
        yield "int8 kernels", f"in {counted(dense_int8.int8_layers, 'layer')} of dense, {both.int8_layers} of pruned"
    by_reason: dict[str, list[str]] = {}
    for each in corners.left_in_float:
        by_reason.setdefault(each.reason, []).append(each.layer)
    for reason, layers in by_reason.items():
        yield "in float", f"{first_of(layers)}: {reason}"
    if corners.unscored is not None:
        yield "int8 score", f"{UNKNOWN}: {corners.unscored}"
