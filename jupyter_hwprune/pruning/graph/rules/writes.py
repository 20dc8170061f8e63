"""Values written into a tensor: one number everywhere, or others at places that are numbered or masked."""

from dataclasses import replace

import torch

from ..labels import Array, Value, aligned
from .parts import NUMBERED
from .site import Outcome, Rules, Site


def filled(at: Site) -> Outcome:
    zero = at.get("value", 0) == 0  # zero_ takes none
    return Value(at.x.shape, tuple(replace(factor, zero=zero) for factor in at.x.factors))


def put(at: Site) -> Outcome:
    """x[:, ids] = values, or x[mask] = values: numbered axes stay whole, and the others meet those of the values."""
    into, values, listed, nodes = at["self"], at["values"], list(at["indices"]), at.node.args[1]
    given = [place for place, index in enumerate(listed) if isinstance(index, Value)]
    for place in given:
        at.pin(listed[place], "reads by these")
    masks = [nodes[place].meta["val"].dtype == torch.bool for place in given]  # type: ignore[union-attr,index]
    ranks = [len(listed[place].shape) for place in given]
    start, rank = given[0], len(into.shape)
    covered = sum(own if mask else 1 for own, mask in zip(ranks, masks, strict=True))
    width = max(1 if mask else own for own, mask in zip(ranks, masks, strict=True))
    picked = rank - covered + width  # axes of what x[..] is, which the values broadcast to
    if given[-1] - start >= len(given) or len(values.shape) > picked:
        at.pin(values, NUMBERED)
        return at.pin(into, NUMBERED)
    numbered = tuple(range(start, start + covered))
    outside = [axis for axis in range(rank) if axis not in numbered]
    there = [axis if axis < start else axis - covered + width for axis in outside]

    def without(labels: Array) -> Array:
        return labels.squeeze(numbered)

    kept = at.pin(into, NUMBERED, numbered)
    kept = aligned(kept.moved([into.shape[axis] for axis in outside], without), there, picked)
    values = aligned(values, range(picked - len(values.shape), picked), picked)
    at_places = range(start, start + width)
    values = at.pin(values, NUMBERED, at_places)
    values = Value(tuple(1 if axis in at_places else n for axis, n in enumerate(values.shape)), values.factors)
    merged = [replace(factor, zero=all(zeros)) for factor, zeros in at.labels.merge([kept, values], (), at.name)]
    left = Value(kept.shape, tuple(merged)).moved(
        [into.shape[axis] for axis in outside], lambda labels: labels.squeeze(tuple(at_places))
    )
    return Value(into.shape, aligned(left, outside, rank).factors)


RULES: Rules = {filled: "fill zero", put: "index_put"}
