"""A training in steps in words: a row for each step, with what was gone, how long it trained and the score after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .corners import Table
from .numbers import share

if TYPE_CHECKING:
    from .. import Report, TrainedStep

HEAD = ("step", "removed", "trained", "score")
MOST_ROWS = 12


def table(report: Report) -> Table | None:
    """Return a row for the dense model and one for each step, spread evenly over many; None for a single step."""
    steps = report.trained
    if len(steps) < 2:
        return None
    spread = {round(at * (len(steps) - 1) / (MOST_ROWS - 1)) for at in range(MOST_ROWS)}
    shown = range(len(steps)) if len(steps) <= MOST_ROWS else sorted(spread)
    rows = [_row(at + 1, steps[at]) for at in shown]
    if report.scores is None:
        return Table(HEAD[:-1], tuple(row[:-1] for row in rows))
    return Table(HEAD, (("dense", share(0.0), "", f"{report.scores.dense:.4g}"), *rows))


def _row(number: int, step: TrainedStep) -> tuple[str, ...]:
    score = "" if step.score is None else f"{step.score:.4g}"
    return str(number), share(step.share), f"{step.seconds:.1f} s", score
