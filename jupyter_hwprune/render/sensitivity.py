"""Show a scan as a picture and a table: each layer's error by sparsity, and the chosen sparsity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, pairwise, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ..core.errors import counted
from ..report.words.numbers import count, middle_cut, share
from .png import FONT, INK, PAPER, compact, empty_figure, style_axes
from .tables import FIRST_ROWS, folding_table

if TYPE_CHECKING:
    from ..report import Curve, Sensitivity

NAMED = 12  # lines with a colour and a name; all others are grey
GREY_LINES = 30  # more would be a grey field, and a large file
MOST_ROWS, MOST_LEVELS = 60, 8  # of the table
SIZE_INCH = (8.6, 4.6)
AXES = (0.085, 0.125, 0.66, 0.70)  # left, bottom, width, height: the names stand to the right
NAME_WIDTH = 30
GAP = 0.058  # between two names, as a share of the axes' height
DECADES = 1.5  # errors that span more are drawn on a logarithmic axis
DEEPEST = 6.0  # decades below the largest error are not drawn
GREY = "#c3c7cc"
# Okabe and Ito's palette without its yellow, which white paper swallows; dashed the second time round
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LEFT, RIGHT = ' style="text-align:left"', ' style="text-align:right"'
MEASURES = {"output error": "error of the outputs (mean square, relative)", "score": "drop of the score"}


@dataclass(frozen=True)
class Line:
    """One drawn layer: `rank` is its place among the most sensitive, None for grey lines."""

    layer: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    chosen: tuple[float, float] | None
    broken: float | None  # the lowest sparsity at which the error was not finite
    rank: int | None


@dataclass(frozen=True)
class Plot:
    lines: tuple[Line, ...]  # the least sensitive first, as they are drawn
    log: bool
    low: float
    high: float


def picture(sensitivity: Sensitivity, chosen: Mapping[str, float] | None = None) -> bytes:
    """Return a PNG of all layers' curves, the most sensitive named, a dot at each sparsity in `chosen`."""
    plot = plotted(sensitivity, chosen or {})
    figure = empty_figure(*SIZE_INCH)
    axes = figure.add_axes(AXES, facecolor=PAPER)
    _frame(axes, plot, sensitivity.measure)
    rest = max(0, len(plot.lines) - NAMED)
    every = max(1, -(-rest // GREY_LINES))
    for index, line in enumerate(plot.lines):
        _line(axes, line, plot, curved=line.rank is not None or index % every == 0)
    _names(axes, plot)
    grey = f"{counted(rest, 'less sensitive layer')} in grey" + (f", one line in {every}" if every > 1 else "")
    title = f"Each of {counted(len(plot.lines), 'layer')} pruned alone, all others dense"
    how = [said(sensitivity), grey if rest else "", "●  chosen" if chosen else ""]
    figure.text(0.02, 0.945, title, fontsize=10, color=INK, fontweight="bold", va="center", **FONT)
    figure.text(0.02, 0.89, "; ".join(filter(None, how)), fontsize=7.5, color=INK, va="center", **FONT)
    return compact(figure)


def table(sensitivity: Sensitivity, chosen: Mapping[str, float] | None = None) -> str:
    """Return a script-free HTML table: a row per layer, the most sensitive first, a column per sparsity."""
    curves = by_sensitivity(sensitivity)
    common = Counter(round(100 * point.sparsity) for curve in curves for point in curve.points)
    levels = sorted(level for level, _ in common.most_common(MOST_LEVELS))
    names = ["weights", *(f"{level} %" for level in levels), *(["chosen"] if chosen else [])]
    head = [f"<th{LEFT}>layer</th>", *(f"<th{RIGHT}>{name}</th>" for name in names)]
    rows = [_row(curve, levels, chosen) for curve in curves[:MOST_ROWS]]
    rest = counted(len(rows) - FIRST_ROWS, "less sensitive layer")
    html = f"<p>{escape(MEASURES[sensitivity.measure])} with one layer pruned alone; {escape(said(sensitivity))}</p>"
    html += folding_table(head, rows, rest)
    if len(curves) > MOST_ROWS:
        html += f"<p>{counted(len(curves) - MOST_ROWS, 'layer')} less sensitive than these are not shown.</p>"
    return html


def said(sensitivity: Sensitivity) -> str:
    """Describe the data and the passes of the scan."""
    rows = "the user's score" if sensitivity.rows is None else f"{counted(sensitivity.rows, 'row')} of calibration data"
    return f"{rows}, {sensitivity.passes:,} passes"


def by_sensitivity(sensitivity: Sensitivity) -> list[Curve]:
    """Return the curves, the largest mean error first; an error that is not finite counts as the worst."""

    def badness(curve: Curve) -> tuple[int, float]:
        errors = [point.error for point in curve.points if point.error is not None]
        return len(curve.points) - len(errors), sum(errors) / max(1, len(errors))

    return sorted(sensitivity.curves, key=badness, reverse=True)


def plotted(sensitivity: Sensitivity, chosen: Mapping[str, float]) -> Plot:
    """Reduce a scan to the lines to draw."""
    errors = sorted(p.error for c in sensitivity.curves for p in c.points if p.error is not None and p.error > 0)
    high = errors[-1] if errors else 1.0
    middle_low = errors[len(errors) // 20] if errors else high
    log = high / middle_low > 10**DECADES
    floor = max(errors[0] if errors else high, high * 10**-DEEPEST)
    low = floor / 1.5 if log else min([0.0, *(p.error for c in sensitivity.curves for p in c.points if p.error)])
    lines = [
        _reduced(curve, rank if rank < NAMED else None, chosen.get(curve.layer), low if log else None)
        for rank, curve in enumerate(by_sensitivity(sensitivity))
    ]
    return Plot(tuple(reversed(lines)), log, low, high * 1.5 if log else high * 1.06)


def _reduced(curve: Curve, rank: int | None, chosen: float | None, floor: float | None) -> Line:
    points = [(p.sparsity, p.error) for p in curve.points if p.error is not None]
    broken = min((p.sparsity for p in curve.points if p.error is None), default=None)
    points = [(0.0, 0.0), *points] if floor is None else [(x, max(y, floor)) for x, y in points]
    dot = None if chosen is None or not points else (chosen, _on_line(points, chosen, floor))
    if dot is not None:
        points = sorted({*points, dot})
    return Line(curve.layer, tuple(x for x, _ in points), tuple(y for _, y in points), dot, broken, rank)


def _on_line(points: Sequence[tuple[float, float]], at: float, floor: float | None) -> float:
    """Return the height of a line; before its first point, it falls with the square, as small errors do."""
    if at <= points[0][0]:
        height = points[0][1] * (at / points[0][0]) ** 2 if points[0][0] else 0.0
        return max(height, floor or 0.0)
    for (x0, y0), (x1, y1) in pairwise(points):
        if at <= x1:
            part = (at - x0) / (x1 - x0)
            return y0 + part * (y1 - y0) if floor is None else math.exp(math.log(y0) + part * math.log(y1 / y0))
    return points[-1][1]


def _frame(axes: Any, plot: Plot, measure: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_yscale("log" if plot.log else "linear")
    axes.set_ylim(plot.low, plot.high)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    style_axes(axes)
    axes.set_xlabel("sparsity of that layer", fontsize=8, color=INK, **FONT)
    axes.set_ylabel(MEASURES[measure], fontsize=8, color=INK, **FONT)


def _line(axes: Any, line: Line, plot: Plot, *, curved: bool) -> None:
    colour, dashes = _style(line.rank)
    width, order, size, edge = (0.6, 1, 10, GREY) if line.rank is None else (1.6, 3, 34, PAPER)
    dot = {"color": colour, "clip_on": False}
    if curved:
        axes.plot(line.x, line.y, color=colour, linewidth=width, linestyle=dashes, zorder=order)
    if line.chosen is not None:
        axes.scatter(*line.chosen, s=size, edgecolors=edge, linewidths=0.8, zorder=order + 1, **dot)
    if line.broken is not None:
        axes.scatter(line.broken, plot.high, s=26, marker="x", linewidths=1.4, zorder=4, **dot)


def _names(axes: Any, plot: Plot) -> None:
    """Write each name next to its line's end, in the order of the lines, and move overlapping names apart."""
    span = (lambda y: math.log(max(y, plot.low) / plot.low)) if plot.log else (lambda y: y - plot.low)
    full = span(plot.high)
    ends = []
    for line in plot.lines:
        if line.rank is not None:
            is_whole = line.broken is None and line.x
            x, end = (line.x[-1], span(line.y[-1]) / full) if is_whole else (line.broken, 1.0)
            ends.append((end, -line.rank, x, line))
    ends.sort(key=itemgetter(0, 1))
    shared = _shared([line.layer for line in plot.lines])
    for place, (end, _, x, line) in zip(_apart([end for end, *_ in ends]), ends, strict=True):
        colour, dashes = _style(line.rank)
        style = {"color": colour, "linestyle": dashes, "linewidth": 0.9, "clip_on": False, "zorder": 2}
        axes.plot([x, 1.02, 1.045], [end, place, place], transform=axes.transAxes, **style)
        name = middle_cut(line.layer[shared:], NAME_WIDTH)
        axes.text(1.052, place, name, fontsize=7, color=INK, va="center", transform=axes.transAxes, **FONT)


def _apart(wanted: Sequence[float]) -> list[float]:
    """Move positions, in rising order, up until they are GAP apart, then down to stay below the top."""
    places = list(accumulate(wanted, lambda below, want: max(want, below + GAP)))
    top = 1.02
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], top)
        top = places[index] - GAP
    return places


def _shared(names: Sequence[str]) -> int:
    """Return the length of the module prefix that all layers share; a narrow margin has no room for it."""
    if max(map(len, names)) <= NAME_WIDTH:
        return 0
    parts = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return sum(len(part[0]) + 1 for part in takewhile(lambda part: len(set(part)) == 1, parts))


def _style(rank: int | None) -> tuple[str, str]:
    if rank is None:
        return GREY, "-"
    return COLOURS[rank % len(COLOURS)], "-" if rank < len(COLOURS) else "--"


def _row(curve: Curve, levels: Sequence[int], chosen: Mapping[str, float] | None) -> str:
    errors = {round(100 * p.sparsity): "not finite" if p.error is None else f"{p.error:.2g}" for p in curve.points}
    cells = [count(curve.weights), *(errors.get(level, "") for level in levels)]
    if chosen:
        at = chosen.get(curve.layer)
        cells.append(f"<b>{'dense' if at is None else share(at)}</b>")
    numbers = "".join(f"<td{RIGHT}>{cell}</td>" for cell in cells)
    return f"<tr><td{LEFT}>{escape(middle_cut(curve.layer, 60))}</td>{numbers}</tr>"
