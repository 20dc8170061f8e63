"""Several runtimes in words: a table of dense and pruned in each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .corners import Table
from .numbers import milliseconds
from .verdict import between, said, speed

if TYPE_CHECKING:
    from .. import Report, Runtime, Runtimes

HEAD = ("runtime", "dense", "pruned", "the runtime alone", "pruning on top", "95 % interval")


def table(report: Report) -> Table | None:
    """Return the table; None if one toolchain was asked for."""
    found = report.runtimes
    return None if found is None else Table(HEAD, tuple(_row(each, found) for each in found.rows))


def _row(row: Runtime, found: Runtimes) -> tuple[str, ...]:
    alone = "1x" if row is found.rows[0] else speed(row.alone)
    name = " ".join(filter(None, [row.toolchain, row.version]))
    return (
        name,
        milliseconds(row.dense_ms),
        milliseconds(row.pruned_ms),
        alone,
        speed(row.pruning),
        between(row.pruning),
    )


def facts(found: Runtimes) -> Iterator[tuple[str, str]]:
    """Say what each runtime buys alone and what pruning buys on top of it, and which stayed out."""
    own, *others = found.rows
    yield own.toolchain, f"pruning is {said(own.pruning)}"
    for row in others:
        swap = f"dense, {milliseconds(own.dense_ms)} with {own.toolchain} → {milliseconds(row.dense_ms)}"
        alone = f"the runtime alone is {said(row.alone)}: {swap}"
        yield row.toolchain, f"{alone}; pruning on top of it is {said(row.pruning)}"
    if others:
        turns = "each in processes of its own, in turn with the others'"
        yield "runtimes", f"{turns}; between two runtimes, the noise floor is what the processes of one differ by"
    for each in found.left_out:
        yield "not timed", f"{each.toolchain}: {each.reason}" + (f"; {each.cure}" if each.cure else "")
