"""Draw speed-up against the share of weights removed: a line for each pattern and toolchain, a band for the noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...render.png import FAINT, FONT, INK, PAPER, compact, empty_figure, style_axes
from ...render.sensitivity import COLOURS

if TYPE_CHECKING:
    from .rows import Advised

SIZE_INCH = (8.6, 4.2)
LINE_INCH = 0.155  # of the legend
TICKS = (0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0)
APART = 1.09  # the smallest factor between two ticks
MARKERS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class Point:
    """One row: the share of weights removed, the speed-up with its interval, and whether that is within its noise."""

    removed: float
    ratio: float
    low: float
    high: float
    is_noise: bool


@dataclass(frozen=True)
class Line:
    """One pattern with one toolchain."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    """Times and estimates are never on the same axes; `noise` is the smallest floor, None for estimates."""

    label: str
    lines: tuple[Line, ...]
    noise: float | None


def draw(rows: Sequence[Advised], title: str, where: Callable[[Advised], str]) -> bytes | None:
    """Return a PNG; None if no row has both a speed-up and a share."""
    panels = [panel for panel in panels_of(rows, where) if panel.lines]
    if not panels:
        return None
    names = sum(len(panel.lines) for panel in panels)
    figure = empty_figure(SIZE_INCH[0], max(SIZE_INCH[1], LINE_INCH * names + 0.8))
    width = 0.64 / len(panels)
    handles: dict[str, Any] = {}
    for index, panel in enumerate(panels):
        axes = figure.add_axes((0.075 + index * (width + 0.075), 0.125, width - 0.05 * (len(panels) - 1), 0.75))
        axes.set_facecolor(PAPER)
        handles |= _panel(axes, panel)
    legend = figure.legend(
        handles.values(),
        handles.keys(),
        loc="upper left",
        bbox_to_anchor=(0.735, 0.895),
        frameon=False,
        prop={"family": "DejaVu Sans", "size": 7.5},
        labelcolor=INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.text(0.02, 0.945, title, fontsize=10, color=INK, fontweight="bold", va="center", **FONT)
    return compact(figure)


def panels_of(rows: Sequence[Advised], where: Callable[[Advised], str]) -> list[Panel]:
    """Reduce the rows to what is drawn."""
    lines: dict[str, list[Line]] = {}
    groups: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
    for row in rows:
        if (ratio := row.ratio) is not None and row.weights_removed is not None:
            label = "speed-up" if row.estimate is None else "estimated speed-up"
            is_noise = row.speed.verdict == "no measurable gain"
            point = Point(row.weights_removed, ratio, row.speed.low or ratio, row.speed.high or ratio, is_noise)
            groups[label, f"{row.what}, {where(row)}"].append(point)
    for (label, name), points in groups.items():
        own = tuple(sorted(points, key=lambda point: point.removed))
        lines.setdefault(label, []).append(Line(name, own))
    floors = [row.speed.noise_floor for row in rows if row.speed.noise_floor is not None]
    return [
        Panel(label, tuple(own), min(floors, default=None) if label == "speed-up" else None)
        for label, own in lines.items()
    ]


def _panel(axes: Any, panel: Panel) -> dict[str, Any]:
    """Draw one panel, and return a handle for each name."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullLocator

    low = min(point.low for line in panel.lines for point in line.points)
    high = max(point.high for line in panel.lines for point in line.points)
    low, high = min(low, 0.95) / 1.06, max(high, 1.05) * 1.06
    axes.set_xlim(-0.02, 1)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    ticks = _ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    style_axes(axes)
    axes.set_xlabel("share of the weights removed", fontsize=8, color=INK, **FONT)
    axes.set_ylabel(panel.label, fontsize=8, color=INK, **FONT)
    handles = {}
    for index, line in enumerate(panel.lines):
        handles[line.name] = _line(axes, line, index)
    if any(point.is_noise for line in panel.lines for point in line.points):
        hollow: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4.5, "markerfacecolor": PAPER}
        handles["within its own noise"] = Line2D([], [], color=INK, **hollow)
    if panel.noise is not None:
        band = axes.axhspan(1 / (1 + panel.noise), 1 + panel.noise, color="#9aa0a6", alpha=0.25, linewidth=0, zorder=1)
        handles["always within noise"] = band
    else:
        axes.axhline(1, color=FAINT, linewidth=0.6)
    return handles


def _line(axes: Any, line: Line, index: int) -> Any:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    points = line.points
    handle = axes.errorbar(
        [point.removed for point in points],
        [point.ratio for point in points],
        yerr=[
            [max(0.0, point.ratio - point.low) for point in points],
            [max(0.0, point.high - point.ratio) for point in points],
        ],
        color=colour,
        linestyle="-" if index < len(COLOURS) else "--",
        marker=marker,
        markersize=4.5,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
        clip_on=False,
        zorder=3,
    )
    for point in points:
        if point.is_noise:
            hollow: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "markersize": 4.5,
                "markerfacecolor": PAPER,
                "clip_on": False,
            }
            axes.plot(point.removed, point.ratio, zorder=4, **hollow)
    return handle


def _ticks(low: float, high: float) -> list[float]:
    """Return the ticks within the range, no two of them so near that their labels touch."""
    found: list[float] = []
    span = (high / low) ** 0.05
    for tick in TICKS:
        if low <= tick <= high and (not found or tick / found[-1] >= max(APART, span)):
            found.append(tick)
    return found
