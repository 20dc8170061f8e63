"""Plans that give each set of channels a width of its own, and take whole blocks where the pattern says so."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import nn

from ..core.pattern import Channel, Depth, Pattern
from ..pruning import Pruned, below, prune, without_blocks
from ..pruning.allocation import curve_of
from ..pruning.channels import Channels
from ..pruning.configuration import library_models
from ..pruning.depth import Blocks
from ..pruning.depth.both import joined
from ..pruning.method import Tell
from ..pruning.planning import scan_channels
from ..pruning.prepared import Prepared
from ..report import Sensitivity
from ..report.words.numbers import share
from .cost import Cost
from .knapsack import Level, solve
from .moves import UNIFORM_SHARES, Limits, Moves, Point, Shares
from .reading import Reading
from .space import Space
from .table import Between, Sample, time_table

RANDOM_SAMPLES = 5
MOST_DEPTHS = 8  # numbers of blocks to try, spread evenly where there are more

Scan = Callable[[str, Callable[[], Sensitivity]], Sensitivity]
"""Finds the result of an earlier scan by its name, or makes it."""


def moves_of(ready: Prepared, scan: Scan, progress: Tell) -> Moves:
    """Return the plans for the pattern: single widths where channels go and no configuration has to say them."""
    pattern = ready.choice.pattern
    channel = pattern.then if isinstance(pattern, Depth) else pattern
    if not isinstance(channel, Channel) or library_models(ready.start):
        whole = isinstance(pattern, Depth) and pattern.then is None
        return Shares(ready, _steps(ready.blocks(progress)) if whole else ())
    channels = Channels.by(ready.method, ready.start, ready.inputs)
    space = Space.of(channels, channel, ready.method.dense)
    if not space.sets:
        return Shares(ready)
    blocks = ready.blocks(progress) if isinstance(pattern, Depth) else None
    if blocks is not None and not blocks.cheapest:
        return Shares(ready)
    return Widths(ready, space, scan("channels", lambda: _scanned(ready, space, progress)), blocks)


def _steps(blocks: Blocks) -> tuple[float, ...]:
    """Return the share of the blocks that are gone with one, two, and so on as far as they may go."""
    return tuple(number / len(blocks.blocks) for number in range(1, len(blocks.cheapest) + 1))


def _scanned(ready: Prepared, space: Space, progress: Tell) -> Sensitivity:
    batches = ready.calibration or (ready.inputs,)
    return scan_channels(space.channels, space.sets, batches, ready.method.scan_score, progress)


@dataclass
class Widths:
    """An exact knapsack of what the outputs lose against time, for each number of blocks that may go."""

    ready: Prepared
    space: Space
    sensitivity: Sensitivity
    blocks: Blocks | None = None
    _samples: list[Sample] = field(default_factory=list)
    _proposed: dict[Point, Sample | None] = field(default_factory=dict)

    def samples(self) -> list[Point]:
        """Return uniform plans, random ones, which tell a layer's inputs from its outputs, and one without blocks."""
        source = random.Random(0)  # noqa: S311 - the same plans in each search, no secret
        space = self.space
        alike = [_point(space.nearest(dict.fromkeys(space.sets, 1 - share))) for share in UNIFORM_SHARES]
        mixed = [
            _point({name: source.choice(own) for name, own in space.widths.items()}) for _ in range(RANDOM_SAMPLES)
        ]
        found = [each for each in (*alike, *mixed) if self.share(each)]
        if self.blocks is not None:
            found.append(_point({name: own[0] for name, own in space.widths.items()}, -(-self._most_blocks // 2)))
        return list(dict.fromkeys(found))

    def learn(self, point: Point, reading: Reading) -> None:
        self._samples.append(Sample(self.space.kept(dict(point.units)), reading, point.blocks))
        if point in self._proposed:
            self._proposed[point] = self._samples[-1]

    def propose(self, limits: Limits) -> Point:
        between = self._between(limits)
        point = self._best(limits, between)
        if between is not None and self._proposed.get(point) is not None:  # the better of the two is the best between
            point = self._best(limits, None)
        self._proposed.setdefault(point, None)
        return point

    def _best(self, limits: Limits, between: Between | None) -> Point:
        best: tuple[float, Point] | None = None
        for blocks in self._depths if between is None else [between.blocks]:
            costs = self._costs(blocks)
            if between is not None:
                costs["time"] = between.time
            levels = self._levels if between is None else between.levels(self._levels)
            found = solve(levels, [(cost, limits[name]) for name, cost in costs.items() if name in limits])
            if found is not None:
                kept = {name: level.kept for name, level in found.items()}
                point = _point(self.space.nearest(kept), blocks)
                best = min(filter(None, (best, (self.loss(point), point))), key=lambda each: each[0])
        if best is None:
            return _point({name: widths[-1] for name, widths in self.space.widths.items()}, self._most_blocks)
        return best[1] if best[1].blocks or self.share(best[1]) else self._smallest_step()

    def _between(self, limits: Limits) -> Between | None:
        """Return the two proposals nearest to the limit of time on both sides of it; None before there are."""
        table, most = time_table(self.space.layers, self.space.weights(), self._samples), limits.get("time")
        known = [each for each in self._proposed.values() if each is not None and each.reading.relative]
        if table is None or most is None:
            return None
        below = [each for each in known if (each.reading.relative or 0.0) <= most]
        above = [each for each in known if (each.reading.relative or 0.0) > most]
        pairs = [(one, other) for one in below for other in above if one.blocks == other.blocks]
        if not pairs:
            return None
        pair = min(pairs, key=lambda each: (each[1].reading.relative or 0.0) - (each[0].reading.relative or 0.0))
        blocks = pair[0].blocks
        costs = (table.whole(self._within(blocks)), self._weights(blocks))  # the weights where the table is that wrong
        return next(filter(None, (Between.of(*pair, cost) for cost in costs)), None)

    def predicted(self, point: Point) -> float | None:
        cost = self._costs(point.blocks).get("time")
        return None if cost is None else cost.of(self.space.kept(dict(point.units)))

    def milder(self, _point: Point) -> None:
        """Take none: widths fill the steps that whole blocks leave."""

    def worth_scoring(self, point: Point) -> bool:
        return bool(point.blocks) or point in self.samples()[: len(UNIFORM_SHARES)]

    def loss(self, point: Point) -> float:
        of_blocks = 0.0 if self.blocks is None else sum(self.blocks.losses[name] for name in self._gone(point.blocks))
        return of_blocks + sum(self._lost(name, units) for name, units in point.units)

    def pruned(
        self, point: Point, model: nn.Module, _pattern: Pattern, fraction: float = 1.0, *, refit: bool = True
    ) -> Pruned:
        ready, space, plan = self.ready, self.space, dict(point.units)
        if fraction < 1:
            kept = space.kept(plan)
            plan = space.nearest({name: 1 - fraction * (1 - own) for name, own in kept.items()})
        if self.blocks is None or not point.blocks:
            channels = space.channels if model is ready.start else Channels.by(ready.method, model, ready.inputs)
            channels = channels if refit else replace(channels, reconstruction=None)
            return prune(model, ready.inputs, space.planned(plan, channels), ready.method, channels=channels)
        shorter = without_blocks(self.blocks, ready.inputs, point.blocks / len(self.blocks.blocks))
        if not self.share(point):
            return shorter
        method = below(shorter, ready.start, ready.method)
        channels = Channels.by(method, shorter.model, ready.inputs)
        named = {new: old for old, new in shorter.renamed.items()}
        smaller = space.planned(plan, channels, named)
        return joined(shorter, prune(shorter.model, ready.inputs, smaller, method, channels=channels))

    def share(self, point: Point) -> float:
        kept = self.space.kept(dict(point.units)).values()
        return 1 - sum(kept) / len(kept)

    def name(self, point: Point) -> str:
        kept = self.space.kept(dict(point.units)).values()
        least, most = share(1 - max(kept)), share(1 - min(kept))
        said = f"{least} of each set of channels" if least == most else f"{least} to {most} of the sets of channels"
        return said if self.blocks is None else f"{point.blocks} of {len(self.blocks.blocks)} blocks, {said}"

    def _smallest_step(self) -> Point:
        """Return the plan that takes something and loses least."""
        whole = {name: widths[0] for name, widths in self.space.widths.items()}
        steps = (_point(whole | {name: widths[1]}) for name, widths in self.space.widths.items())
        return min(steps, key=self.loss)

    @property
    def _most_blocks(self) -> int:
        return 0 if self.blocks is None else len(self.blocks.cheapest)

    @property
    def _depths(self) -> list[int]:
        """The numbers of blocks to try."""
        most = self._most_blocks
        return sorted({round(i * most / (MOST_DEPTHS - 1)) for i in range(MOST_DEPTHS)}) if most else [0]

    def _gone(self, blocks: int) -> list[str]:
        return [] if self.blocks is None else self.blocks.cheapest[:blocks]

    @cached_property
    def _levels(self) -> dict[str, list[Level]]:
        space = self.space
        return {
            name: [Level(space.share(name, units), self._lost(name, units)) for units in widths]
            for name, widths in space.widths.items()
        }

    @cached_property
    def _curves(self) -> dict[str, Callable[[float], float]]:
        return curve_of(self.sensitivity)

    def _lost(self, name: str, units: int) -> float:
        return self._curves[name](1 - self.space.share(name, units))

    def _costs(self, blocks: int) -> dict[str, Cost]:
        """Return the table's time without some blocks, corrected by the last measured plan, and what follows."""
        table = time_table(self.space.layers, self.space.weights(), self._samples)
        if table is None:
            return {}
        last = self._samples[-1]
        before = table.whole(self._within(last.blocks)).of(last.kept)
        factor = (last.reading.relative or 0.0) / before or 1.0
        time = table.whole(self._within(blocks)).scaled(factor)
        found = {"time": time}
        for name in ("energy", "power"):
            used = last.reading.quantities.get(name)
            if used is not None:
                found[name] = time.scaled(used / (factor * before))
        if last.reading.bytes is not None:
            found["size"] = self._sizes(last, blocks)
        return found

    def _within(self, blocks: int) -> Callable[[str], bool]:
        """Return what tells whether a layer or parameter is in one of so many blocks that go."""
        gone = [f"{name}." for name in self._gone(blocks)]
        return lambda name: any(f"{name}.".startswith(each) for each in gone)

    def _sizes(self, last: Sample, blocks: int) -> Cost:
        """Return the files' size: so many bytes for a weight, as the samples show, and what is no weight."""
        sizes = [(self._weights(each.blocks).of(each.kept), each.reading.bytes or 0.0) for each in self._samples]
        (least, small), (most, large) = min(sizes), max(sizes)
        each = (large - small) / (most - least) if most > least else large / most
        rest = (last.reading.bytes or 0.0) - each * self._weights(last.blocks).of(last.kept)
        return self._weights(blocks).scaled(each) + Cost(rest)

    def _weights(self, blocks: int) -> Cost:
        return self.space.weights(self._within(blocks))


def _point(plan: Mapping[str, int], blocks: int = 0) -> Point:
    return Point(units=tuple(plan.items()), blocks=blocks)
