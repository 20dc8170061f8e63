"""Parts of a tensor: slices, pieces, and what is read by number."""

from dataclasses import replace
from itertools import accumulate

import numpy as np

from ..labels import Array, Factor, Value, aligned
from .site import Outcome, Rules, Site

NUMBERED = "reads its channels by their numbers"


def one(at: Site, shape: tuple[int, ...]) -> Value:
    """Take one place of an axis, which is gone then."""
    axis, factors = at.axis(), []
    for each in at.x.factors:
        factor: Factor | None = at.labels.simplified(each)
        if factor is not None and axis in factor.axes:
            alone = factor.axes == (axis,)
            what = "picks one of its channels by its place" if alone else "takes part of an axis"
            factor = at.labels.drop(factor, axis, f"{at.name} {what}")
        if factor is not None:
            factors.append(replace(factor, labels=np.take(factor.labels, 0, axis)))
    return Value(shape, tuple(factors))


def part(at: Site, value: Value, axis: int, index: slice, shape: tuple[int, ...]) -> Value:
    """Take part of an axis: of one that is cut together with others, along those others only."""
    chosen = [at.labels.choose_axis(each, [axis], f"{at.name} takes part of an axis") for each in value.factors]
    left = Value(shape, tuple(factor for factor in chosen if factor is not None))
    places = (slice(None),) * axis + (index,)
    return left.moved(shape, lambda labels: labels[places] if labels.shape[axis] > 1 else labels)


def select(at: Site) -> Outcome:
    return one(at, at.shape)


def unbind(at: Site) -> Outcome:
    return [one(at, shape) for shape in at.shapes]


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
        return part(at, at.pin(at.x, "takes every so many of its channels", [axis]), axis, index, at.shape)
    at.note_size(axis, f"takes places {index.start} to {index.stop} of {size}")
    _share(at, axis, length, index.start)
    return part(at, at.x, axis, index, at.shape)


def pieces(at: Site) -> Outcome:
    axis = at.axis()
    lengths = [shape[axis] for shape in at.shapes]
    if len(set(lengths)) == 1:
        _share(at, axis, lengths[0], 0)
    at.note_size(axis, f"takes pieces of {', '.join(map(str, lengths))}")
    starts = accumulate(lengths, initial=0)
    return [
        part(at, at.x, axis, slice(start, start + shape[axis]), shape)
        for start, shape in zip(starts, at.shapes, strict=False)
    ]


def _share(at: Site, axis: int, length: int, start: int) -> None:
    """Have equal pieces of an axis keep the same count, so that half of it stays half of it."""
    size = at.x.shape[axis]
    factor = at.x.on(axis)
    if factor is not None and factor.axes == (axis,) and length < size and size % length == start % length == 0:
        at.labels.shares.append(factor.labels.reshape(size // length, length))


def indexed(at: Site) -> Outcome:
    """x[:, ids]: an axis that is read by number stays whole."""
    listed = at["indices"]
    indices = listed if isinstance(listed, (list, tuple)) else [listed]
    by_number = [axis for axis, index in enumerate(indices) if isinstance(index, Value)]
    kept = at.pin(at.x, NUMBERED, by_number)
    for axis in by_number:
        at.pin(indices[axis], "reads by these")
    width = len(np.broadcast_shapes(*(indices[axis].shape for axis in by_number)))
    together = by_number == list(range(by_number[0], by_number[-1] + 1))
    start = by_number[0] if together else 0
    places = {axis: axis for axis in range(start)}
    following = [axis for axis in range(len(at.x.shape)) if axis not in by_number and axis >= start]
    places |= {axis: start + width + i for i, axis in enumerate(following)}
    if len(at.shape) != len(at.x.shape) - len(by_number) + width:  # a mask of booleans
        at.pin(at.x, "reads its channels by a mask")
        return Value(at.shape)

    def placed(labels: Array) -> Array:
        sizes = {place: labels.shape[axis] for axis, place in places.items()}
        return labels.reshape([sizes.get(place, 1) for place in range(len(at.shape))])

    return kept.moved(at.shape, placed)


def gathered(at: Site) -> Outcome:
    """index_select and the like: other axes pass where they are as long as before."""
    axes = [at.axis()] if at.operator.startswith("index_select") else None
    return Value(at.shape, at.pin(at.x, NUMBERED, axes).factors)


def added_by_number(at: Site) -> Outcome:
    """index_add and the like: the rows of one tensor go into those of another by number, and other axes pass."""
    axis = at.axis()
    into, source = (at.pin(value, NUMBERED, [axis]) for value in (at["self"], at.get("source", at.get("src"))))
    if any(a != b for i, (a, b) in enumerate(zip(into.shape, source.shape, strict=True)) if i != axis):
        at.pin(source, "takes part of an axis")
        return at.pin(into, "takes part of an axis")
    index = at.pin(at["index"], "reads by these", [axis if len(at["index"].shape) == len(at.shape) else 0])
    aside = tuple(1 if i == axis else size for i, size in enumerate(at.shape))
    parts = [Value(aside, value.factors) for value in (into, source)]
    if index.factors:  # of scatter_add, spread over as many channels
        parts.append(Value(aside, index.factors))
    merged = at.labels.merge(parts, (), at.name)
    return Value(at.shape, tuple(replace(factor, zero=all(zeros[:2])) for factor, zeros in merged))


def unfold(at: Site) -> Outcome:
    kept = at.pin(at.x, "slides over its channels", [at.axis("dimension")])
    return Value(at.shape, aligned(kept, range(len(kept.shape)), len(at.shape)).factors)


RULES: Rules = {
    select: "select",
    slices: "slice narrow",
    pieces: "split split_with_sizes chunk tensor_split",
    unbind: "unbind",
    indexed: "index",
    gathered: "index_select gather take_along_dim",
    added_by_number: "index_add scatter_add index_copy scatter_reduce",
    unfold: "unfold",
}
