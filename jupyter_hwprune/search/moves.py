"""The plans that a search chooses from, and what it knows of their costs: widths of single sets, or one share."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Protocol

from torch import nn

from ..core.pattern import NM, Channel, Depth, Pattern
from ..pruning import Pruned, prune
from ..pruning.allocation import curve_of
from ..pruning.channels import Channels
from ..pruning.configuration import library_models
from ..pruning.method import Tell
from ..pruning.planning import scan_channels
from ..pruning.prepared import Prepared
from ..report import Sensitivity
from .cost import Cost
from .knapsack import Level, solve
from .reading import Reading
from .space import Space
from .table import Sample, time_table

Limits = Mapping[str, float]
"""The most of each quantity: "time" as a share of the dense model's, "size" in bytes, "energy" and "power" as read."""

UNIFORM_SHARES = (0.25, 0.5, 0.75)
ZERO_SHARES = (0.5, 0.7, 0.8, 0.9, 0.95)
RANDOM_SAMPLES = 5
LARGEST_SHARE = 0.98


@dataclass(frozen=True)
class Point:
    """One plan: the units that each set of channels keeps, or the one share that goes everywhere."""

    units: tuple[tuple[str, int], ...] = ()
    share: float | None = None

    @property
    def key(self) -> str:
        """Name the plan in the journal of the search."""
        return f"share {self.share:.6g}" if self.share is not None else " ".join(f"{n}={u}" for n, u in self.units)


class Moves(Protocol):
    """What a search asks of the plans that it chooses from."""

    def samples(self) -> Sequence[Point]:
        """Return the plans to measure before the first choice."""

    def learn(self, point: Point, reading: Reading) -> None:
        """Take in what was measured of a plan."""

    def propose(self, limits: Limits) -> Point:
        """Return the plan with the least loss within the limits; the smallest one if none is."""

    def predicted(self, point: Point) -> float | None:
        """Return the expected time of a plan, as a share of the dense model's; None before anything was measured."""

    def worth_scoring(self, point: Point) -> bool:
        """Say whether the score of a sample tells the user something."""

    def loss(self, point: Point) -> float:
        """Return what the outputs (or the score) are expected to lose; only to compare plans with."""

    def pruned(self, point: Point, model: nn.Module, pattern: Pattern, fraction: float = 1.0) -> Pruned:
        """Prune a copy of the model by the plan, or by so large a part of the way to it, with the step's pattern."""

    def share(self, point: Point) -> float:
        """Return the share that a plan removes, on average over what can go."""

    def name(self, point: Point) -> str:
        """Name the plan for the report."""


def moves_of(ready: Prepared, scan: Callable[[str, Callable[[], Sensitivity]], Sensitivity], progress: Tell) -> Moves:
    """Return the plans for the pattern: single widths where channels go and no configuration has to say them.

    `scan` finds the result of an earlier scan, or makes it.
    """
    pattern = ready.choice.pattern
    if isinstance(pattern, Channel) and not library_models(ready.start):
        channels = Channels.by(ready.method, ready.start, ready.inputs)
        space = Space.of(channels, pattern, ready.method.dense)
        if space.sets:
            return Widths(ready, space, scan("channels", lambda: _scanned(ready, space, progress)))
    return Shares(ready)


def _scanned(ready: Prepared, space: Space, progress: Tell) -> Sensitivity:
    batches = ready.calibration or (ready.inputs,)
    by_score = ready.method.score if ready.method.allocation == "sensitivity:score" else None
    return scan_channels(space.channels, space.sets, batches, by_score, progress)


@dataclass
class Widths:
    """Each set of channels keeps a width of its own: an exact knapsack of what the outputs lose against time."""

    ready: Prepared
    space: Space
    sensitivity: Sensitivity
    _samples: list[Sample] = field(default_factory=list)

    def samples(self) -> list[Point]:
        """Return uniform plans, and random ones, which tell a layer's inputs from its outputs."""
        source = random.Random(0)  # noqa: S311 - the same plans in each search, no secret
        space = self.space
        alike = [space.nearest(dict.fromkeys(space.sets, 1 - share)) for share in UNIFORM_SHARES]
        mixed = [{name: source.choice(own) for name, own in space.widths.items()} for _ in range(RANDOM_SAMPLES)]
        return list(dict.fromkeys(_point(plan) for plan in (*alike, *mixed) if not self._is_whole(plan)))

    def learn(self, point: Point, reading: Reading) -> None:
        self._samples.append(Sample(self.space.kept(dict(point.units)), reading))

    def propose(self, limits: Limits) -> Point:
        costs = [(cost, limits[name]) for name, cost in self._costs().items() if name in limits]
        found = solve(self._levels, costs)
        if found is None:
            return _point({name: widths[-1] for name, widths in self.space.widths.items()})
        return _point(self.space.nearest({name: level.kept for name, level in found.items()}))

    def predicted(self, point: Point) -> float | None:
        cost = self._costs().get("time")
        return None if cost is None else cost.of(self.space.kept(dict(point.units)))

    def worth_scoring(self, point: Point) -> bool:
        return point in self.samples()[: len(UNIFORM_SHARES)]

    def loss(self, point: Point) -> float:
        curves = curve_of(self.sensitivity)
        return sum(curves[name](1 - self.space.share(name, units)) for name, units in point.units)

    def pruned(self, point: Point, model: nn.Module, pattern: Pattern, fraction: float = 1.0) -> Pruned:
        space, ready = self.space, self.ready
        assert isinstance(pattern, Channel)
        if model is not ready.start:
            channels = Channels.by(ready.method, model, ready.inputs)
            known = {each.name: each for each in channels.coupled.sets if each.name in space.sets}
            space = replace(space, channels=channels, sets=known)
        kept = space.kept({name: units for name, units in point.units if name in space.sets})
        plan = (
            dict(point.units) if fraction == 1 else space.nearest({n: 1 - fraction * (1 - k) for n, k in kept.items()})
        )
        return prune(model, ready.inputs, space.planned(plan), ready.method, channels=space.channels)

    def share(self, point: Point) -> float:
        kept = self.space.kept(dict(point.units)).values()
        return 1 - sum(kept) / len(kept)

    def name(self, point: Point) -> str:
        kept = self.space.kept(dict(point.units)).values()
        return f"channels, {1 - max(kept):.0%} to {1 - min(kept):.0%} of each set"

    def _is_whole(self, plan: Mapping[str, int]) -> bool:
        return all(units == self.space.sets[name].units for name, units in plan.items())

    @cached_property
    def _levels(self) -> dict[str, list[Level]]:
        space, curves = self.space, curve_of(self.sensitivity)
        return {
            name: [Level(space.share(name, units), curves[name](1 - space.share(name, units))) for units in widths]
            for name, widths in space.widths.items()
        }

    def _costs(self) -> dict[str, Cost]:
        """Return the table's time, corrected by the plan that was measured last, and what follows from it."""
        samples = self._samples
        table = time_table(self.space.layers, self.space.weights, samples)
        if table is None:
            return {}
        last = samples[-1]
        time = table.scaled((last.reading.relative or 0.0) / table.of(last.kept) or 1.0)
        found = {"time": time}
        for name in ("energy", "power"):
            used = last.reading.quantities.get(name)
            if used is not None:
                found[name] = time.scaled(used / time.of(last.kept))
        if last.reading.bytes is not None:
            found["size"] = self._sizes(last)
        return found

    def _sizes(self, last: Sample) -> Cost:
        """Return the files' size: so many bytes for a weight, as the samples show, and what is no weight."""
        weights = self.space.weights
        sizes = [(weights.of(each.kept), each.reading.bytes) for each in self._samples if each.reading.bytes]
        (least, small), (most, large) = min(sizes), max(sizes)
        each = (large - small) / (most - least) if most > least else large / most
        return weights.scaled(each) + Cost((last.reading.bytes or 0.0) - each * weights.of(last.kept))


def _point(plan: Mapping[str, int]) -> Point:
    return Point(units=tuple(plan.items()))


@dataclass
class Shares:
    """One share for the whole model, from which the method's allocation makes the plan; n:m has one alone."""

    ready: Prepared
    _read: dict[float, Reading] = field(default_factory=dict)

    def samples(self) -> list[Point]:
        pattern = self.ready.choice.pattern
        if isinstance(pattern, NM):
            return [Point(share=pattern.sparsity)]
        return [
            Point(share=each) for each in (UNIFORM_SHARES if isinstance(pattern, (Channel, Depth)) else ZERO_SHARES)
        ]

    def learn(self, point: Point, reading: Reading) -> None:
        assert point.share is not None
        self._read[point.share] = reading

    def propose(self, limits: Limits) -> Point:
        """Take the smallest share that is expected to meet every limit, between those that were measured."""
        pattern = self.ready.choice.pattern
        if isinstance(pattern, NM):
            return Point(share=pattern.sparsity)
        shares = [number / 200 for number in range(1, round(LARGEST_SHARE * 200) + 1)]
        fitting = (each for each in shares if all(self._at(name, each) <= most for name, most in limits.items()))
        return Point(share=next(fitting, max((*self._read, *shares[-1:]) if not self._read else self._read)))

    def predicted(self, point: Point) -> float | None:
        return self._at("time", point.share or 0.0) if self._read else None

    def worth_scoring(self, _point: Point) -> bool:
        return True

    def loss(self, point: Point) -> float:
        return point.share or 0.0

    def pruned(self, point: Point, model: nn.Module, pattern: Pattern, fraction: float = 1.0) -> Pruned:
        assert point.share is not None
        return self.ready.prune(lambda _: None, model, pattern, fraction * point.share)

    def share(self, point: Point) -> float:
        return point.share or 0.0

    def name(self, point: Point) -> str:
        return f"{self.ready.choice.pattern} at {point.share:.0%}"

    def _at(self, name: str, share: float) -> float:
        """Read a quantity between its neighbours, on a logarithmic scale; beyond the last it falls no more."""
        known = {at: own.quantities[name] for at, own in self._read.items() if name in own.quantities}
        dense = [own.dense_quantities[name] for own in self._read.values() if name in own.dense_quantities]
        if not known:
            return 0.0
        if dense:
            known[0.0] = sorted(dense)[len(dense) // 2]
        points = sorted(known.items())
        for (s0, v0), (s1, v1) in pairwise(points):
            if s0 <= share <= s1:
                part = (share - s0) / (s1 - s0)
                return math.exp((1 - part) * math.log(v0) + part * math.log(v1))
        return points[-1][1] if share > points[-1][0] else points[0][1]
