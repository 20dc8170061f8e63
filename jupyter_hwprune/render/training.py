"""Draw a training in steps: the score after each, with what was gone by then and the seconds that it trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.words.numbers import share
from .png import FONT, INK, PAPER, compact, empty_figure, style_axes

if TYPE_CHECKING:
    from ..report import Report

SIZE_INCH = (7.2, 3.3)
AXES = (0.105, 0.2, 0.865, 0.59)  # left, bottom, width, height
TRAINED = "#D55E00"  # of Okabe and Ito's palette
MOST_LABELS = 7


def picture(report: Report) -> bytes | None:
    """Return a PNG with a point for the dense model and one for each step; None where fewer than two have a score."""
    steps = [(at, each, each.score) for at, each in enumerate(report.trained, 1) if each.score is not None]
    if report.scores is None or len(steps) < 2:
        return None
    figure = empty_figure(*SIZE_INCH)
    axes = figure.add_axes(AXES, facecolor=PAPER)
    numbers, scores, dense = [at for at, _, _ in steps], [score for _, _, score in steps], report.scores.dense
    style_axes(axes)
    axes.plot([0, *numbers], [dense, *scores], color=TRAINED, linewidth=1.2, zorder=2)
    axes.scatter(numbers, scores, s=36, color=TRAINED, edgecolors=PAPER, linewidths=0.8, zorder=3)
    axes.scatter([0], [dense], s=34, color=INK, marker="s", zorder=4)
    axes.margins(x=0.06, y=0.28)
    named = steps[:: -(-len(steps) // MOST_LABELS)]
    said = [f"{at}\n{share(step.share)} removed\ntrained {step.seconds:.1f} s" for at, step, _ in named]
    axes.set_xticks([0, *(at for at, _, _ in named)], ["dense", *said])
    axes.set_ylabel(f"score, {report.scores.expression}"[:40], fontsize=8, color=INK, **FONT)
    beside = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "fontsize": 7.5, "zorder": 5, **FONT}
    halo = {"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none"}
    for at, score in ((0, dense), *((at, score) for at, _, score in named)):
        axes.annotate(f"{score:.4g}", (at, score), color=INK, bbox=halo, **beside)
    title = f"Score after each of {len(report.trained)} steps"
    figure.text(0.02, 0.94, title, fontsize=10, color=INK, fontweight="bold", va="center", **FONT)
    what = "each point is the pruned copy after the training of its step"
    figure.text(0.02, 0.87, what, fontsize=7.5, color=INK, va="center", **FONT)
    return compact(figure)
