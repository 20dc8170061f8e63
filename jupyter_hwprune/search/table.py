"""A model's time as a function of its widths, from a few copies that the target's own toolchain has measured.

It is a share of the dense model's. Each layer's is a sum of a constant, a part that grows with its inputs, one with its
outputs and one with their product, none of them negative: a least-squares fit over all measured copies (Lawson and
Hanson 1974, through scipy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.optimize import nnls

from .cost import Cost, Kept
from .reading import Reading
from .space import Sides

DENSE: Kept = {}


@dataclass(frozen=True)
class Sample:
    """A measured copy: the share that each set of channels keeps, what was read, and how many blocks are gone."""

    kept: Kept
    reading: Reading
    blocks: int = 0


@dataclass(frozen=True)
class Table:
    """The time of each layer that a set of channels makes or feeds, and of all else, as shares of the dense model's."""

    layers: Mapping[str, Cost]
    others: Cost

    def whole(self, gone: Callable[[str], bool] = lambda _layer: False) -> Cost:
        """Return the whole model's time without the layers that are `gone`."""
        return sum((cost for name, cost in self.layers.items() if not gone(name)), start=self.others)


def time_table(layers: Mapping[str, Sides], weights: Cost, samples: Sequence[Sample]) -> Table | None:
    """Fit the table to the samples that have all blocks; None if nothing was measured."""
    timed = [each for each in samples if each.reading.relative and not each.blocks]
    if not timed:
        return None
    fitted = {name: _of_layer(name, sides, timed) for name, sides in layers.items()}
    known = {name: cost for name, cost in fitted.items() if cost is not None}
    if not known:
        return Table({}, _of_whole(layers, weights, timed))
    kernels = Table(known, _of_others(layers, timed))
    whole = kernels.whole()
    scale = median(each.reading.relative / whole.of(each.kept) for each in timed if each.reading.relative)
    return Table({name: cost.scaled(scale) for name, cost in known.items()}, kernels.others.scaled(scale))


def _of_layer(name: str, sides: Sides, samples: Sequence[Sample]) -> Cost | None:
    read = [(each.kept, each.reading.layers[name]) for each in samples if name in each.reading.layers]
    if not read:
        return None
    features = (Cost(1.0), sides.inputs, sides.outputs, sides.outputs.times(sides.inputs))
    times = [median(own.dense for _, own in read), *(own.pruned for _, own in read)]
    return _fitted(features, [DENSE, *(kept for kept, _ in read)], times)


def _of_others(layers: Mapping[str, Sides], samples: Sequence[Sample]) -> Cost:
    """Fit the kernels of no layer by the mean width: they move and normalise what the layers make."""
    read = [(each.kept, each.reading.others) for each in samples]
    known = [(kept, others) for kept, others in read if others is not None]
    if not known:
        return Cost()
    times = [median(own.dense for _, own in known), *(own.pruned for _, own in known)]
    return _fitted((Cost(1.0), _mean_width(layers)), [DENSE, *(kept for kept, _ in known)], times)


def _of_whole(layers: Mapping[str, Sides], weights: Cost, samples: Sequence[Sample]) -> Cost:
    """Fit the whole model's time where the toolchain tells no layer's: by its weights and by its mean width."""
    times = [1.0, *(each.reading.relative or 1.0 for each in samples)]
    features = (Cost(1.0), _mean_width(layers), weights.scaled(1 / weights.of(DENSE)))
    return _fitted(features, [DENSE, *(each.kept for each in samples)], times)


def _mean_width(layers: Mapping[str, Sides]) -> Cost:
    sides = [each.outputs for each in layers.values()]
    return sum(sides, start=Cost()).scaled(1 / max(1, len(sides)))


def _fitted(features: Sequence[Cost], kept: Sequence[Kept], times: Sequence[float]) -> Cost:
    """Return the sum of the features, none with a negative weight, that is nearest to the times, in relative terms."""
    matrix = np.array([[feature.of(own) for feature in features] for own in kept])
    scale = 1 / np.maximum(np.array(times), 1e-12)
    found, _ = nnls(matrix * scale[:, None], np.ones(len(times)))
    return sum((feature.scaled(float(value)) for feature, value in zip(features, found, strict=True)), start=Cost())
