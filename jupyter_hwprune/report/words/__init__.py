"""The wording of a report, written once: the text, HTML, PNG and lab-extension views show it and add no words.

The report's JSON includes it, next to the numbers that views sort by and draw to scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from . import corners, runtimes, search, training
from .corners import Table
from .facts import Fact, facts, left_dense, returned
from .layers import Column, Key, by_weight, columns, name, notes, rows, valid
from .line import line
from .mistakes import mistake
from .verdict import badge, headline, interval, speed, what

if TYPE_CHECKING:
    from .. import Report

__all__ = [
    "Key",
    "Words",
    "by_weight",
    "facts",
    "headline",
    "line",
    "mistake",
    "name",
    "rows",
    "speed",
    "valid",
    "what",
    "words_of",
]

Badge = Literal["faster", "faster at a cost", "slower", "no measurable gain", "not measured", "estimated", "compiled"]


@dataclass(frozen=True)
class Words:
    """All the wording of a report, except its own texts.

    `badge` is the kind of headline; `interval` is shown next to a verdict. `columns` describe the layers, and `notes`
    explain that table. `corners` compares dense and pruned, in float and in int8, if there are int8 models, `runtimes`
    in each runtime, if all were asked for; `search` lists the plans that a search has measured, `training`
    the steps of a training.
    """

    title: str
    headline: str
    badge: Badge
    interval: str | None
    facts: tuple[Fact, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    returned: tuple[str, ...]
    left_dense: tuple[str, ...]
    corners: Table | None = None
    runtimes: Table | None = None
    search: Table | None = None
    training: Table | None = None


def words_of(report: Report) -> Words:
    return Words(
        title=what(report),
        headline=headline(report),
        badge=badge(report),
        interval=interval(report.deciding),
        facts=tuple(facts(report)),
        columns=tuple(columns(report)),
        notes=tuple(notes(report)),
        returned=tuple(returned(report)),
        left_dense=tuple(left_dense(report.skipped)),
        corners=corners.table(report),
        runtimes=runtimes.table(report),
        search=search.table(report),
        training=training.table(report),
    )
