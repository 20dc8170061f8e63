"""Draw what a search tried: score (or weights left) against time, the plan that was chosen marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..report.words.numbers import share
from .png import FONT, INK, PAPER, compact, empty_figure, style_axes

if TYPE_CHECKING:
    from ..report import Search, SearchPoint

SIZE_INCH = (7.2, 3.9)
AXES = (0.105, 0.15, 0.865, 0.665)  # left, bottom, width, height
TRIED, CHOSEN, LIMIT = "#8a9097", "#D55E00", "#0072B2"  # of Okabe and Ito's palette


def picture(search: Search) -> bytes:
    """Return a PNG: a point for each plan with a score, or for each at all if there is none."""
    scored = [each for each in search.points if each.score is not None]
    points = scored or list(search.points)
    figure = empty_figure(*SIZE_INCH)
    axes = figure.add_axes(AXES, facecolor=PAPER)
    times = [each.time for each in points]
    heights = [_height(each, bool(scored)) for each in points]
    dense = search.chosen.dense_time
    top = search.dense_score if scored else 1.0
    _frame(axes, search, scored=bool(scored))
    _front(axes, [*zip(times, heights, strict=True), *([(dense, top)] if top is not None else [])])
    axes.scatter(times, heights, s=26, color=TRIED, zorder=3)
    if top is not None:
        axes.scatter([dense], [top], s=34, color=INK, zorder=4)
        _label(axes, dense, top, "dense", INK)
    chosen = search.chosen
    if chosen in points:
        at = chosen.time, _height(chosen, bool(scored))
        axes.scatter(*([each] for each in at), s=64, color=CHOSEN, edgecolors=PAPER, linewidths=0.8, zorder=5)
        _label(axes, *at, f"chosen, {chosen.speedup:.2f}x", CHOSEN)
    _limits(axes, search, dense, scored=bool(scored))
    figure.text(0.02, 0.945, f"Goal: {search.goal}", fontsize=10, color=INK, fontweight="bold", va="center", **FONT)
    what = "each point is a plan that was compiled and measured"
    what += "; scores are those without training, but for the chosen plan" if scored else ""
    figure.text(0.02, 0.885, what, fontsize=7.5, color=INK, va="center", **FONT)
    return compact(figure)


def _height(point: SearchPoint, scored: bool) -> float:
    return point.kept if not scored or point.score is None else point.score


def _front(axes: Any, points: Sequence[tuple[float, float]]) -> None:
    """Join the plans that no other one beats in both time and score."""
    front: list[tuple[float, float]] = []
    for time, height in sorted(points):
        if not front or height > front[-1][1]:
            front.append((time, height))
    axes.plot(*zip(*front, strict=True), color=TRIED, linewidth=1.0, zorder=2)


def _frame(axes: Any, search: Search, *, scored: bool) -> None:
    longest = max([*(each.time for each in search.points), search.chosen.dense_time])
    axes.set_xlim(0, 1.12 * longest)
    axes.margins(y=0.15)
    style_axes(axes)
    unit = "time of a batch, ms" if search.unit == "ms" else f"estimate, {search.unit}"
    axes.set_xlabel(unit, fontsize=8, color=INK, **FONT)
    axes.set_ylabel("score" if scored else "weights left", fontsize=8, color=INK, **FONT)
    if not scored:
        axes.yaxis.set_major_formatter(lambda value, _: share(value))


def _limits(axes: Any, search: Search, dense: float, *, scored: bool) -> None:
    goal = search.goal
    line = {"color": LIMIT, "linewidth": 0.9, "linestyle": "--", "zorder": 1}
    times = [*([goal.latency_ms] if goal.latency_ms else []), *([dense / goal.speedup] if goal.speedup else [])]
    if times:
        axes.axvline(min(times), **line)
    if goal.max_drop is not None and search.dense_score is not None and scored:
        axes.axhline(search.dense_score - goal.max_drop, **line)


def _label(axes: Any, x: float, y: float, said: str, colour: str) -> None:
    where = {"xytext": (7, -13), "textcoords": "offset points"}
    axes.annotate(said, (x, y), fontsize=7.5, color=colour, zorder=6, **where, **FONT)
