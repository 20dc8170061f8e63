"""What pruning would gain here: rows ranked by speed-up, the next line to run, as data, text and HTML."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ...core.door import one_door
from ...core.errors import ReportError, counted, first_line
from ...render.tables import html_table, wrapped
from ...render.text import terminal_width
from ...report import Evidence, codec, words
from ...report.words.numbers import UNKNOWN, count, milliseconds, share, three_digits
from ..shown import TextAndHtml, aligned
from . import picture
from .rows import Absent, Advised, is_timed, saved_per_share

CAUTION = (
    "Pruned by magnitude and not trained: these are the times of such shapes and zeros, and tell nothing about "
    "accuracy."
)
DISPENSABLE = ("95 % interval", "MACs", "weights")  # the columns that a narrow terminal drops, in this order
HEAD = ("pattern", "removes", "weights", "MACs", "with", "time", "against dense", "95 % interval")


@dataclass(frozen=True)
class Advice(TextAndHtml):
    """Rows sorted by their gain: those that were timed, then estimates, then those without a number.

    `best` is the row that saves most time for each share removed, None if none is faster beyond the noise; where
    nothing was timed, by an estimate. `line` is the next to run, that row's. Where nothing is faster, `would` says what
    may be.
    """

    model: str
    threads: int
    batch: int
    rows: tuple[Advised, ...]
    best: Advised | None
    line: str | None
    would: tuple[str, ...]
    absent: tuple[Absent, ...]
    remarks: tuple[str, ...]
    created: str

    @property
    def summary(self) -> str:
        if self.best is not None:
            return f"{self.model}: {self.best.what}, {self.best.removes}, is {self._gain(self.best)}"
        return f"{self.model}: {self._nothing()}"

    @one_door(ReportError)
    def to_json(self) -> str:
        return json.dumps(codec.unstructure(self), allow_nan=False, indent=1)

    @one_door(ReportError)
    def save(self, path: str | Path) -> None:
        """Write the advice as JSON; raises ReportError if the file cannot be written."""
        try:
            Path(path).write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise ReportError(f"The advice cannot be written to {path}: {first_line(error)}.") from error

    def picture(self) -> bytes | None:
        """Return a PNG of speed-up against the share of weights removed; None if nothing has both."""
        return picture.draw(self.rows, f"{self.model}: what pruning would gain", self._where)

    def __str__(self) -> str:
        lines = [f"hwprune advise: {self._title()}", ""]
        if self._numbered():
            lines += [*_fitting([HEAD, *self._cells()]), ""]
        for name, said in self._facts():
            lines += wrapped(said, f"  {name:<13}", " " * 15)
        return "\n".join([*lines, *([f"  {'next':<13}{self.line}"] if self.line else [])])

    def _html(self) -> str:
        parts = [f"<p><b>{escape(self._title())}</b></p>"]
        if self._numbered():
            parts.append(html_table(HEAD, [tuple(map(escape, row)) for row in self._cells()]))
        if (png := self.picture()) is not None:
            data, alt = (
                base64.b64encode(png).decode("ascii"),
                "Speed-up by the share of weights removed: the rows above",
            )
            parts.append(f'<img alt="{alt}" style="max-width:100%;height:auto" src="data:image/png;base64,{data}">')
        parts.append(html_table(("", ""), [(f"<b>{escape(a)}</b>", escape(b)) for a, b in self._facts()]))
        if self.line:
            parts.append(f"<p><b>next</b></p><pre>{escape(self.line)}</pre>")
        return f'<div style="max-width:1200px">{"".join(parts)}</div>'

    def _title(self) -> str:
        where = ", ".join(dict.fromkeys([*(row.target for row in self.rows), *(each.target for each in self.absent)]))
        return f"{self.model} for {where}, batch {self.batch}, {counted(self.threads, 'thread')}"

    def _numbered(self) -> list[Advised]:
        return [row for row in self.rows if row.evidence.kind != "unavailable"]

    def _cells(self) -> list[tuple[str, ...]]:
        return [self._row(row) for row in self._numbered()]

    def _row(self, row: Advised) -> tuple[str, ...]:
        low, high = row.speed.low, row.speed.high
        between = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
        gone = (_less(row.weights_removed), _less(row.macs_removed))
        return (row.what, row.removes, *gone, self._where(row), _time(row), _against(row), between)

    def _where(self, row: Advised) -> str:
        several = len({each.target for each in self.rows}) > 1
        return f"{row.target}:{row.toolchain}" if several else row.toolchain

    def _facts(self) -> Iterator[tuple[str, str]]:
        if self.best is not None:
            saved = f"{saved_per_share(self.best, self.rows):.2f} % of the fastest dense model's time"
            most = f", and saves most for what goes: {saved} for each percent of {self.best.kind}"
            most = most if self.best.share else ""
            yield "best", f"{self.best.what}, {self.best.removes}: {self._gain(self.best)}{most}."
        else:
            yield "best", f"{self._nothing()}."
        if dense := _dense(self.rows, self._where):
            yield "dense", dense
        for said in self.would:
            yield "would pay", said
        alike: defaultdict[Evidence, list[Advised]] = defaultdict(list)
        for row in self.rows:
            if row.evidence.kind == "unavailable":
                alike[row.evidence].append(row)
        for evidence, rows in alike.items():
            what, where = (dict.fromkeys(map(of, rows)) for of in (_what, self._where))
            yield "not measured", f"{', '.join(what)} with {' and '.join(where)}: {_why(evidence)}"
        for each in self.absent:
            yield "not here", f"{each.toolchain} for {each.target}: {_why(each.evidence)}"
        for said in (*_sources(self.rows), *_memories(self.rows), CAUTION, *self.remarks):
            yield "note", said

    def _gain(self, row: Advised) -> str:
        return f"{_against(row)} with {self._where(row)}"

    def _nothing(self) -> str:
        tried = [row for row in self.rows if row.speed.speedup is not None]
        return (
            "nothing that was timed beats the fastest dense model beyond the noise"
            if tried
            else "nothing was timed here"
        )


def _dense(rows: Sequence[Advised], where: Callable[[Advised], str]) -> str:
    """Say how long the dense model takes with each toolchain, where there are several."""
    times: dict[str, float] = {}
    for row in rows:
        if is_timed(row) and row.dense_ms and row.rival is None:
            times[where(row)] = min(row.dense_ms, times.get(where(row), row.dense_ms))
    said = [f"{milliseconds(ms)} with {name}" for name, ms in sorted(times.items(), key=lambda each: each[1])]
    return ", ".join(said) if len(said) > 1 else ""


def _fitting(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the table in lines, without the columns that a narrow terminal has no room for."""
    for dropped in range(len(DISPENSABLE) + 1):
        kept = [place for place, name in enumerate(HEAD) if name not in DISPENSABLE[:dropped]]
        lines = [f"  {line}".rstrip() for line in aligned([tuple(row[place] for place in kept) for row in rows])]
        if max(map(len, lines)) < terminal_width():
            break
    return lines


def _what(row: Advised) -> str:
    return row.what if row.share is None else f"{row.what} at {share(row.share)}"


def _less(removed: float | None) -> str:
    return UNKNOWN if removed is None else f"-{share(removed)}" if removed else "none"


def _time(row: Advised) -> str:
    if row.estimate is not None:
        return f"{count(row.estimate.dense)} → {count(row.estimate.pruned)} {row.estimate.unit}"
    if row.dense_ms is None or row.ms is None:
        return UNKNOWN
    return f"{three_digits(row.dense_ms)} → {milliseconds(row.ms)}"


def _against(row: Advised) -> str:
    if row.estimate is not None:
        return f"estimated {row.estimate.ratio:.2f}x"
    if row.evidence.kind == "compiled":
        return "compiled, not timed"
    speed = row.speed
    said = words.speed(speed) + (f" than {row.rival}" if row.rival and speed.verdict == "faster" else "")
    if speed.verdict == "no measurable gain" and speed.noise_floor is not None:
        said = f"within {share(speed.noise_floor)} noise"
    return f"simulated: {said}" if row.evidence.kind == "simulated kernels" else said


def _why(evidence: Evidence) -> str:
    return f"{evidence.reason}" + (f"; cure: {evidence.cure}" if evidence.cure else "")


def _sources(rows: Sequence[Advised]) -> Iterator[str]:
    for evidence in dict.fromkeys(row.evidence for row in rows if row.evidence.kind != "unavailable"):
        names = dict.fromkeys(row.toolchain for row in rows if row.evidence == evidence)
        kind = {"compiler-estimate": "Estimated by", "compiled": "Compiled by"}.get(evidence.kind)
        said = f"{kind or evidence.kind.capitalize() + ' on'} {evidence.device}"
        yield f"{said}{'' if kind else ', with ' + ' and '.join(names)}{f': {evidence.reason}' if kind else ''}."


def _memories(rows: Sequence[Advised]) -> Iterator[str]:
    old = [row for row in rows if row.remembered]
    if old:
        first, last = min(row.made for row in old), max(row.made for row in old)
        when = first if first == last else f"{first} to {last}"
        yield f"{len(old)} of {counted(len(rows), 'row')} are remembered, made {when}. --fresh measures them again."
