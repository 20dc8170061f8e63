"""A search in words: the goal, whether a fresh measurement meets it, and a table of what was tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...core.errors import counted
from .corners import Table
from .numbers import UNKNOWN, count, milliseconds, share

if TYPE_CHECKING:
    from .. import Report, Search, SearchPoint

HEAD = ("plan", "weights left", "time", "of dense", "score", "")
WORDS = {
    "time": "the time",
    "energy": "the energy",
    "power": "the power",
    "size": "the size of its files",
    "score": "the score",
}


def table(report: Report) -> Table | None:
    """Return the plans that were measured, the slowest first; None if the run did not search."""
    search = report.search
    if search is None:
        return None
    points = sorted(search.points, key=lambda each: each.time / each.dense_time, reverse=True)
    rows = [_row(each, search) for each in points]
    shown = [place for place, name in enumerate(HEAD) if name != "score" or any(row[place] for row in rows)]
    return Table(tuple(HEAD[place] for place in shown), tuple(tuple(row[place] for place in shown) for row in rows))


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """Say what was asked for, what came out, and how many plans it took."""
    search = report.search
    if search is None:
        return
    yield "goal", str(search.goal)
    yield "reached", _outcome(report, search)
    found = f"; {search.remembered} of all were found on disk" if search.remembered else ""
    copies = counted(len(search.points) - search.rounds, "measured plan")
    said = f"a table of times from {copies}, then {counted(search.rounds, 'plan')} taken from it and measured{found}"
    yield "search", f"{said}; {search.seconds:.0f} s"
    yield from (("steps", each) for each in search.remarks)


def _outcome(report: Report, search: Search) -> str:
    """Compare the report's own measurement with the goal: it is another one than those of the search."""
    found = list(_measured(report, search))
    said = ", ".join(f"{name} {value}" + (f" ({missed})" if missed else "") for name, value, missed in found)
    if not any(missed for _, _, missed in found):
        return f"yes: {said}"
    if search.stopped_by is None:
        return f"no: {said}; the plan met it when it was chosen, but not in this final measurement"
    return f"no: {said}; {WORDS[search.stopped_by]} stopped the search, and this is the best plan that it found"


def _measured(report: Report, search: Search) -> Iterator[tuple[str, str, str]]:
    """Yield the name and value of each quantity with a limit, and by how much it misses that, "" if it does not."""
    goal, (dense, pruned) = search.goal, times(report)
    if goal.latency_ms is not None or goal.speedup is not None:
        if dense is None or pruned is None:
            yield "time", UNKNOWN, "the time is not measured"
        else:
            least = min([*filter(None, (goal.latency_ms,)), *([dense / goal.speedup] if goal.speedup else [])])
            over = pruned / least - 1
            value = f"{_time(pruned, search)}, {dense / pruned:.2f}x"
            yield "time", value, f"{share(over)} too slow" if over > 0 else ""
    if goal.max_drop is not None:
        scores = report.scores
        drop = None if scores is None else scores.dense - scores.pruned
        value = UNKNOWN if scores is None else f"{scores.dense:.4g} → {scores.pruned:.4g}"
        missed = "the score is not known" if drop is None else f"it fell by {drop:.3g}" if drop > goal.max_drop else ""
        yield "score", value, missed
    of = None if report.energy is None else report.energy.pruned
    used = {"energy_mj": of and of.total_mj, "power_mw": of and of.average_mw}
    for name, unit in (("energy_mj", "mJ"), ("power_mw", "mW")):
        limit, value_ = getattr(goal, name), used[name]
        if limit is not None:
            said = UNKNOWN if value_ is None else f"{value_:.4g} {unit}"
            yield (
                name.partition("_")[0],
                said,
                "" if value_ is not None and value_ <= limit else f"over {limit:g} {unit}",
            )
    if goal.size_mb is not None:
        size = search.chosen.size_bytes
        said = UNKNOWN if size is None else f"{count(size)}B"
        yield "size", said, "" if size is not None and size <= 1e6 * goal.size_mb else f"over {goal.size_mb:g} MB"


def times(report: Report) -> tuple[float | None, float | None]:
    """Return the dense and the pruned model's time or estimate; with int8 models, that of the faster pruned one."""
    measured = report.measurement
    if measured.kind == "estimated":
        return measured.dense, measured.pruned
    if measured.kind != "timed":
        return None, None
    rows = report.corners.rows if report.corners is not None else ()
    pruned = [each.ms for each in rows if each.pruned]
    return measured.dense_ms, min(pruned, default=measured.pruned_ms)


def _row(point: SearchPoint, search: Search) -> tuple[str, ...]:
    dtype = " in int8" if point.int8 else ""
    return (
        point.name + dtype,
        share(point.kept),
        _time(point.time, search),
        f"{point.speedup:.2f}x",
        "" if point.score is None else f"{point.score:.4g}",
        "chosen" if point.chosen else "",
    )


def _time(value: float, search: Search) -> str:
    return milliseconds(value) if search.unit == "ms" else f"{count(value)} {search.unit}"
