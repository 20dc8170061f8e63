"""Make the plans of a search: prune, score, compile and time them, and keep what was read on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import nn

from ..choose.effort import Effort
from ..choose.scoring import Scorer
from ..core.errors import PruneError
from ..core.pattern import Pattern
from ..core.torch_state import own_torch_state
from ..measure.bench import Bench
from ..measure.candidates import Candidate, Findings
from ..measure.rating import Settled
from ..measure.writing import bench_for, candidate
from ..pruning import Pruned
from ..pruning.prepared import Prepared
from ..pruning.training import Training
from ..report import SearchPoint
from ..toolchains.process import Progress
from .journal import Journal, Purpose
from .moves import Moves, Point
from .reading import Reading
from .widths import moves_of

EFFORTS: dict[Purpose, Effort] = {
    "table": Effort(max_rounds=25, measure_s=3.0, min_profile_rounds=5, profile_s=2.0),
    "round": Effort(min_rounds=9, max_rounds=30, measure_s=3.0, profile=False),
}


@dataclass
class Plans:
    """The plans of one search, each made and measured once; `points` are those that were measured."""

    ready: Prepared
    scorer: Scorer | None
    training: Training | None
    progress: Progress
    folder: Path
    scored: object  # what tells this score from another one
    points: dict[Point, SearchPoint] = field(default_factory=dict)
    finished: dict[Point, Pruned] = field(default_factory=dict)
    misfit: PruneError | None = None
    last: Reading | None = None  # what was measured last, for the dense model's time as it is now
    _benches: dict[Purpose, Bench] = field(default_factory=dict)
    _said: str = ""
    _number: int = 0

    def __post_init__(self) -> None:
        self.journal = Journal.of(self.ready, self.scored)
        with own_torch_state():
            self.moves: Moves = moves_of(self.ready, self.journal.scan, partial(self.progress, "search"))

    def finish(self, point: Point) -> Pruned:
        """Return the plan's model as the user gets it: trained, or with BatchNorm's statistics of its own."""
        if point not in self.finished:
            training = self.training
            self.finished[point] = self._prune_once(point) if training is None else self._trained(training, point)
        return self.finished[point]

    def _trained(self, training: Training, point: Point) -> Pruned:
        share = self.moves.share(point)

        def step(model: nn.Module, pattern: Pattern, own: float) -> Pruned:
            with own_torch_state():
                return self.moves.pruned(point, model, pattern, own / share)

        return training.along(step, self.ready.choice.pattern, share)

    def _prune_once(self, point: Point, *, scored: bool = True) -> Pruned:
        with own_torch_state():
            pruned = self.moves.pruned(point, self.ready.start, self.ready.choice.pattern, refit=scored)
        return self.ready.with_own_statistics(pruned, self.scorer and self.scorer.maybe)

    def measure(self, points: Sequence[Point], part: Purpose, said: str = "") -> list[Reading | None]:
        """Return the readings of plans, from the journal or measured together; None for one that does not fit."""
        known = {point: self.journal.reading(part, point.key) for point in points}
        written: dict[Point, Candidate] = {}
        scores: dict[Point, float | None] = {}
        kept: dict[Point, float] = {}
        self._said = said
        bench = self._bench(part)
        for at, point in enumerate(points, 1):
            if known[point] is not None:
                continue
            self.progress("search", f"{said}plan {at} of {len(points)}: {self.moves.name(point)}")
            scored = self.training is None and self.scorer is not None
            scored &= part == "round" or self.moves.worth_scoring(point)
            try:
                pruned = self._prune_once(point, scored=scored)
            except PruneError as error:  # a share that is less than one channel or block
                self.misfit = error
                continue
            if scored and self.scorer is not None:
                scores[point] = self.scorer.maybe(pruned.model)
            kept[point] = pruned.totals.pruned_weights / max(1, pruned.totals.weights)
            written[point] = self._written(bench, pruned)
        for point, found in zip(written, bench.measure(list(written.values())) if written else (), strict=True):
            reading = self._read(bench, written[point], found)
            reading = replace(reading, kept=kept[point], score=scores.get(point))
            known[point] = reading
            self.journal.keep(part, point.key, reading)
        for point, each in known.items():
            if each is not None and each.relative is not None:
                self._take_in(point, each)
        return list(known.values())

    @own_torch_state()
    def _written(self, bench: Bench, pruned: Pruned) -> Candidate:
        self._number += 1
        settled = Settled(pruned, self.ready.choice)
        return candidate(bench, self.ready.start, settled, self.ready.inputs, f"plan-{self._number}")

    def _read(self, bench: Bench, candidate: Candidate, found: Findings) -> Reading:
        return Reading.of(found, candidate.case.model, bench.dense.model)

    def _take_in(self, point: Point, reading: Reading) -> None:
        predicted = self.moves.predicted(point)
        self.moves.learn(point, reading)
        self.last = reading
        assert reading.dense is not None
        assert reading.pruned is not None
        self.points[point] = SearchPoint(
            self.moves.name(point),
            round(self.moves.share(point), 4),
            reading.kept,
            reading.pruned,
            reading.dense,
            predicted=None if predicted is None else predicted * reading.dense,
            size_bytes=None if reading.bytes is None else round(reading.bytes),
            energy_mj=reading.energy_mj,
            score=reading.score,
            int8=reading.int8,
        )

    def _bench(self, part: Purpose) -> Bench:
        if part not in self._benches:
            ready, effort = self.ready, EFFORTS[part]
            choice = replace(ready.choice, every=())  # other runtimes are for the run's own report
            self._benches[part] = bench_for(
                ready.start, ready.inputs, choice, self.folder, self._tell, effort, ready.calibration
            )
        return self._benches[part]

    def _tell(self, phase: str, detail: str) -> None:
        self.progress("search", f"{self._said}{phase}: {detail}")
