"""The plans that a search chooses from, and what it knows of their costs: widths of single sets, or one share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from torch import nn

from ..core.pattern import NM, Channel, Depth, Pattern
from ..pruning import Pruned
from ..pruning.prepared import Prepared
from ..report.words.numbers import share
from .reading import Reading

Limits = Mapping[str, float]
"""The most of each quantity: "time" as a share of the dense model's, "size" in bytes, "energy" and "power" as read."""

UNIFORM_SHARES = (0.25, 0.5, 0.75)
ZERO_SHARES = (0.5, 0.7, 0.8, 0.9, 0.95)
LARGEST_SHARE = 0.98


@dataclass(frozen=True)
class Point:
    """One plan: the units that each set keeps and how many blocks go, or the one share that goes everywhere."""

    units: tuple[tuple[str, int], ...] = ()
    share: float | None = None
    blocks: int = 0

    @property
    def key(self) -> str:
        """Name the plan in the journal of the search."""
        if self.share is not None:
            return f"share {self.share:.6g}"
        return f"-{self.blocks} blocks " + " ".join(f"{name}={units}" for name, units in self.units)


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

    def pruned(
        self, point: Point, model: nn.Module, pattern: Pattern, fraction: float = 1.0, *, refit: bool = True
    ) -> Pruned:
        """Prune a copy of the model by the plan, or by so large a part of the way to it, with the step's pattern.

        Without `refit` the weights that stay may be left as they are, where only times are wanted.
        """

    def milder(self, point: Point) -> Point | None:
        """Return the plan that is one step milder, where the steps are so coarse that a goal can fall between two."""

    def share(self, point: Point) -> float:
        """Return the share that a plan removes, on average over what can go."""

    def name(self, point: Point) -> str:
        """Name the plan for the report."""


@dataclass
class Shares:
    """One share for the whole model, from which the method's allocation makes the plan; n:m has one alone.

    `steps` are the only shares that make a difference, where whole blocks go; without them any share may be taken.
    """

    ready: Prepared
    steps: tuple[float, ...] = ()
    _read: dict[float, Reading] = field(default_factory=dict)

    def samples(self) -> list[Point]:
        pattern = self.ready.choice.pattern
        if isinstance(pattern, NM):
            return [Point(share=pattern.sparsity)]
        wanted = UNIFORM_SHARES if isinstance(pattern, (Channel, Depth)) else ZERO_SHARES
        return [Point(share=each) for each in dict.fromkeys(map(self._step, wanted))]

    def _step(self, wanted: float) -> float:
        return min(self.steps, key=lambda each: abs(each - wanted), default=wanted)

    def learn(self, point: Point, reading: Reading) -> None:
        assert point.share is not None
        self._read[point.share] = reading

    def propose(self, limits: Limits) -> Point:
        """Take the smallest share that is expected to meet every limit, between those that were measured."""
        pattern = self.ready.choice.pattern
        if isinstance(pattern, NM):
            return Point(share=pattern.sparsity)
        shares = self.steps or tuple(number / 200 for number in range(1, round(LARGEST_SHARE * 200) + 1))
        fitting = (each for each in shares if all(self._at(name, each) <= most for name, most in limits.items()))
        return Point(share=next(fitting, max(self._read, default=shares[-1])))

    def predicted(self, point: Point) -> float | None:
        return self._at("time", point.share or 0.0) if self._read else None

    def milder(self, point: Point) -> Point | None:
        return next((Point(share=each) for each in reversed(self.steps) if each < (point.share or 0.0)), None)

    def worth_scoring(self, _point: Point) -> bool:
        return True

    def loss(self, point: Point) -> float:
        return point.share or 0.0

    def pruned(
        self,
        point: Point,
        model: nn.Module,
        pattern: Pattern,
        fraction: float = 1.0,
        *,
        refit: bool = True,  # noqa: ARG002
    ) -> Pruned:
        assert point.share is not None
        return self.ready.prune(lambda _: None, model, pattern, fraction * point.share)

    def share(self, point: Point) -> float:
        return point.share or 0.0

    def name(self, point: Point) -> str:
        return f"{self.ready.choice.pattern} at {share(point.share or 0.0)}"

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
