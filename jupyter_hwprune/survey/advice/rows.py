"""The rows of advice, their order, and the one that is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...report import NOT_COMPARED, Comparison, Estimated, Evidence
from ...report.words.numbers import share

ORDER = ("measured", "simulated kernels", "compiler-estimate", "compiled", "unavailable")
OF = {"channel": "channels", "depth": "blocks"}


@dataclass(frozen=True)
class Advised:
    """A pattern with a toolchain, the `share` of channels, blocks or weights removed, and the gain.

    `pattern` is None for int8 alone, where nothing is removed. `weights_removed` and `macs_removed` are shares of the
    model's own. `speed` compares with the dense model in float: that of the same toolchain, or the `rival`'s if that is
    faster. `estimate` is the compiler's own, where nothing ran. The samples are those of the clock that decided. `made`
    is when the numbers were, and `remembered` says that it was in an earlier call.
    """

    target: str
    toolchain: str
    pattern: str | None
    share: float | None
    int8: bool
    evidence: Evidence
    weights_removed: float | None = None
    macs_removed: float | None = None
    dense_ms: float | None = None
    ms: float | None = None
    speed: Comparison = NOT_COMPARED
    estimate: Estimated | None = None
    rival: str | None = None
    dense_samples_ms: tuple[float, ...] = ()
    samples_ms: tuple[float, ...] = ()
    made: str = ""
    remembered: bool = False

    @property
    def ratio(self) -> float | None:
        return self.estimate.ratio if self.estimate else self.speed.speedup

    @property
    def what(self) -> str:
        return " + ".join(filter(None, [self.pattern, "int8" if self.int8 else None]))

    @property
    def removes(self) -> str:
        return "nothing" if self.share is None else f"{share(self.share)} of {self.kind}"

    @property
    def kind(self) -> str:
        """What the share counts: channels, blocks or weights."""
        return next((of for start, of in OF.items() if (self.pattern or "").startswith(start)), "weights")


@dataclass(frozen=True)
class Absent:
    """A toolchain of the target that can do nothing here, with the reason and the cure."""

    target: str
    toolchain: str
    evidence: Evidence


def ranked(rows: Sequence[Advised]) -> tuple[Advised, ...]:
    """Order rows by their speed-up; times, simulations and estimates are not compared with each other."""
    return tuple(sorted(rows, key=lambda row: (ORDER.index(row.evidence.kind), -(row.ratio or 0.0))))


def best_of(rows: Sequence[Advised]) -> Advised | None:
    """Return the row that is faster and saves most time for each share removed; an estimate only if nothing was timed.

    It has to beat the fastest dense model of its target, whatever runs that. Int8 alone, which removes nothing, comes
    last: a line that removes something times it too.
    """
    faster = [row for row in rows if row.evidence.kind == "measured" and row.speed.verdict == "faster"]
    if all(row.speed.speedup is None for row in rows):
        faster = [row for row in rows if row.estimate is not None]
    paying = [row for row in faster if _saved(row, rows) > 0]
    return max(paying, key=lambda row: (saved_per_share(row, rows), _saved(row, rows)), default=None)


def saved_per_share(row: Advised, rows: Sequence[Advised]) -> float:
    """Return the share of the fastest dense model's time that is saved for each share removed; 0 if nothing is."""
    return _saved(row, rows) / row.share if row.share else 0.0


def _saved(row: Advised, rows: Sequence[Advised]) -> float:
    if row.estimate is not None:
        return 1 - row.estimate.pruned / row.estimate.dense
    dense = [each.dense_ms for each in rows if each.target == row.target and each.dense_ms and is_timed(each)]
    return 1 - row.ms / min(dense) if dense and row.ms else 0.0


def is_timed(row: Advised) -> bool:
    return row.evidence.kind == "measured"
