"""Parts of a tensor: slices, pieces, and what is read by number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..labels import Factor, Value, aligned
from .site import Outcome, Site


def take(at: Site, value: Value, axis: int, index: slice | int, shape: tuple[int, ...]) -> Value:
    """Take part of an axis: of one that is cut together with others, along those others only."""
    factors: list[Factor] = []
    for each in value.factors:
        factor: Factor | None = each
        if each.labels.shape[axis] > 1:
            factor = at.labels.simplified(each)
            others = [other for other in factor.axes if other != axis]
            if axis in factor.axes and others:
                reason = f"{at.name} takes part of an axis"
                factor = (
                    at.labels.drop(factor, axis, reason)
                    if isinstance(index, int)
                    else at.labels.decide(factor, [axis], others, reason)
                )
            elif axis in factor.axes and isinstance(index, int):
                factor = at.labels.drop(factor, axis, f"{at.name} picks one of its channels by its place")
        if factor is None:
            continue
        labels = factor.labels
        if isinstance(index, int):
            labels = np.take(labels, 0, axis)
        elif labels.shape[axis] > 1:
            labels = labels[(slice(None),) * axis + (index,)]
        factors.append(replace(factor, labels=labels))
    return Value(shape, tuple(factors))


def select(at: Site) -> Outcome:
    return take(at, at.x, at.axis(), 0, at.shape)


def slices(at: Site) -> Outcome:
    axis = at.axis()
    size = at.x.shape[axis]
    start, stop, step = (at.get(k) for k in ("start", "end", "step"))
    if "length" in at.given:
        stop = start + at["length"]
    index = slice(*slice(start, stop, step or 1).indices(size))
    length = at.shape[axis]
    if length == size:
        return at.x
    if index.step != 1:
        kept = at.labels.pin_value(at.x, f"{at.name} takes every so many of its channels", [axis])
        return take(at, kept, axis, index, at.shape)
    _share(at, axis, length, index.start)
    return take(at, at.x, axis, index, at.shape)


def pieces(at: Site) -> Outcome:
    axis = at.axis()
    found, start = [], 0
    if len({shape[axis] for shape in at.shapes}) == 1:
        _share(at, axis, at.shapes[0][axis], 0)
    for shape in at.shapes:
        found.append(take(at, at.x, axis, slice(start, start + shape[axis]), shape))
        start += shape[axis]
    return found


def unbind(at: Site) -> Outcome:
    return [take(at, at.x, at.axis(), 0, shape) for shape in at.shapes]


def _share(at: Site, axis: int, length: int, start: int) -> None:
    """Have equal pieces of an axis keep the same count, so that half of it stays half of it."""
    size = at.x.shape[axis]
    factor = at.x.on(axis)
    if factor is not None and factor.axes == (axis,) and length < size and size % length == start % length == 0:
        at.labels.shares.append((factor.labels.reshape(size // length, length), at.name))


def indexed(at: Site) -> Outcome:
    """x[:, ids]: an axis that is read by number stays whole."""
    listed = at["indices"]
    indices = listed if isinstance(listed, (list, tuple)) else [listed]
    by_number = [axis for axis, index in enumerate(indices) if isinstance(index, Value)]
    kept = at.labels.pin_value(at.x, f"{at.name} reads its channels by their numbers", by_number)
    for axis in by_number:
        at.labels.pin_value(indices[axis], f"{at.name} reads by these")
    width = len(np.broadcast_shapes(*(indices[axis].shape for axis in by_number)))
    together = by_number == list(range(by_number[0], by_number[-1] + 1))
    start = by_number[0] if together else 0
    places = {axis: axis for axis in range(start)}
    following = [axis for axis in range(len(at.x.shape)) if axis not in by_number and axis >= start]
    places |= {axis: start + width + i for i, axis in enumerate(following)}
    if len(at.shape) != len(at.x.shape) - len(by_number) + width:  # a mask of booleans
        at.labels.pin_value(at.x, f"{at.name} reads its channels by a mask")
        return Value(at.shape)
    factors = []
    for factor in kept.factors:
        shape = [1] * len(at.shape)
        for axis, place in places.items():
            shape[place] = factor.labels.shape[axis]
        factors.append(replace(factor, labels=factor.labels.reshape(shape)))
    return Value(at.shape, tuple(factors))


def gathered(at: Site) -> Outcome:
    """index_select and the like: other axes pass where they are as long as before."""
    axis = at.axis()
    kept = at.labels.pin_value(at.x, f"{at.name} reads its channels by their numbers", [axis])
    if at.node.target.__name__.startswith("index_select"):  # type: ignore[union-attr]
        return Value(at.shape, kept.factors)
    at.labels.pin_value(kept, f"{at.name} reads its channels by their numbers")
    return Value(at.shape)


def unfold(at: Site) -> Outcome:
    kept = at.passed(at.x, [at.axis("dimension")], zero=True, what="slides over its channels")
    return Value(at.shape, aligned(kept, range(len(kept.shape)), len(at.shape)).factors)


RULES: dict[str, Callable[[Site], Outcome]] = {
    "select": select,
    **dict.fromkeys(("slice", "narrow"), slices),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split"), pieces),
    "unbind": unbind,
    "index": indexed,
    **dict.fromkeys(("index_select", "gather", "take_along_dim"), gathered),
    "unfold": unfold,
}
