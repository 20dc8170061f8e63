"""Views, permutations, repeats: they act on the arrays of labels as they do on the tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..labels import Factor, Value, aligned
from .site import Outcome, Site

LARGEST = 1 << 24  # labels of one view


def reshape(at: Site) -> Outcome:
    return reshaped(at, at.x, at.shape)


def reshaped(at: Site, value: Value, shape: tuple[int, ...]) -> Value:
    """Give the value another shape, whatever view that took."""
    if 0 in shape:
        return at.labels.pin_value(Value(shape), "")
    blocks = list(_blocks(value.shape, shape))
    factors: list[Factor] = []
    for factor in value.factors:
        touched = [(old, new) for old, new in blocks if set(old) & set(factor.axes)]
        old_axes = {axis for old, _ in touched for axis in old}
        new_axes = {axis for _, new in touched for axis in new}
        spread = [size if i in old_axes else 1 for i, size in enumerate(value.shape)]
        if math.prod(spread) > LARGEST:
            at.labels.pin(factor.labels, f"{at.name} mixes its channels with too many other places")
            continue
        array = np.broadcast_to(factor.labels, spread).reshape(
            [size if i in new_axes else 1 for i, size in enumerate(shape)]
        )
        factors.append(spread_over(at, replace(factor, labels=array)))
    return _apart(at, Value(shape, tuple(factors)))


def _blocks(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[range, range]]:
    """Match the shortest runs of axes that hold as many elements on both sides."""
    i = j = 0
    while i < len(old) or j < len(new):
        first_i, first_j, a, b = i, j, 1, 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        yield range(first_i, i), range(first_j, j)


def spread_over(at: Site, factor: Factor) -> Factor:
    """Note a factor that came to stand on several axes, of which one only may shrink."""
    for axis in factor.axes:
        first = np.take(factor.labels, [0], axis)
        if bool((factor.labels == first).all()) and first.size > 1:
            factor = replace(factor, labels=first)
    if len(factor.axes) > 1:
        factor = replace(factor, view=factor.view or at.node.name)
        at.labels.spread.append(factor)
    return factor


def _apart(at: Site, value: Value) -> Value:
    """Pin what would be a second factor on an axis."""
    taken: set[int] = set()
    kept = []
    for factor in value.factors:
        if taken & set(factor.axes):
            at.labels.pin(factor.labels, f"{at.name} merges two axes that both have channels")
        else:
            taken |= set(factor.axes)
            kept.append(factor)
    return Value(value.shape, tuple(kept))


def permute(at: Site) -> Outcome:
    rank = len(at.x.shape)
    kind = at.node.target.__name__.partition(".")[0]  # type: ignore[union-attr]
    order = list(range(rank))
    if kind == "permute":
        order = [d % rank for d in at["dims"]]
    elif kind == "movedim":
        source, to = ([at[k]] if isinstance(at[k], int) else at[k] for k in ("source", "destination"))
        rest = [axis for axis in order if axis not in {s % rank for s in source}]
        for place, axis in sorted((t % rank, s % rank) for s, t in zip(source, to, strict=True)):
            rest.insert(place, axis)
        order = rest
    else:
        a, b = (at.get("dim0"), at.get("dim1")) if "dim0" in at.given else (0, 1) if kind == "t" else (-2, -1)
        if "axis0" in at.given:
            a, b = at["axis0"], at["axis1"]
        if rank > 1:
            order[a % rank], order[b % rank] = order[b % rank], order[a % rank]
    factors = tuple(replace(f, labels=f.labels.transpose(order)) for f in at.x.factors)
    return Value(tuple(at.x.shape[axis] for axis in order), factors)


def expand(at: Site) -> Outcome:
    rank = len(at.shape)
    return Value(at.shape, aligned(at.x, range(rank - len(at.x.shape), rank), rank).factors)


def expand_as(at: Site) -> Outcome:
    return at.meet([at["self"], at["other"]], "never")


def repeat(at: Site) -> Outcome:
    """Tile each axis so many times."""
    times = at.get("repeats") or at.get("dims")
    rank = len(at.shape)
    times = [1] * (rank - len(times)) + list(times)
    spread = aligned(at.x, range(rank - len(at.x.shape), rank), rank)
    factors = []
    for factor in spread.factors:
        own = [n if factor.labels.shape[axis] > 1 else 1 for axis, n in enumerate(times)]
        factors.append(replace(factor, labels=np.tile(factor.labels, own)))
    return Value(at.shape, tuple(factors))


def repeat_interleave(at: Site) -> Outcome:
    times, axis = at.get("repeats"), at.get("dim")
    if not isinstance(times, int) or axis is None:
        at.labels.pin_value(at.x, f"{at.name} repeats its channels unevenly")
        return Value(at.shape)
    axis %= len(at.shape)
    factors = (
        replace(f, labels=np.repeat(f.labels, times, axis)) if f.labels.shape[axis] > 1 else f for f in at.x.factors
    )
    return Value(at.shape, tuple(factors))


def pixel_shuffle(at: Site) -> Outcome:
    """[.., C*r*r, H, W] -> [.., C, H*r, W*r]: the r*r channels that become one go together."""
    r, axis = at["upscale_factor"], len(at.shape) - 3
    return _grouped_axis(at, axis, (at.shape[axis], r * r), keep=0)


def pixel_unshuffle(at: Site) -> Outcome:
    r, axis = at["downscale_factor"], len(at.shape) - 3
    return _multiplied(at, axis, r * r)


def channel_shuffle(at: Site) -> Outcome:
    g, shape = at["groups"], at.x.shape
    split = reshaped(at, at.x, (shape[0], g, shape[1] // g, *shape[2:]))
    turned = Value(
        (shape[0], shape[1] // g, g, *shape[2:]),
        tuple(replace(f, labels=np.swapaxes(f.labels, 1, 2)) for f in split.factors),
    )
    return reshaped(at, turned, at.shape)


def im2col(at: Site) -> Outcome:
    """[B, C, H, W] -> [B, C*taps, L]."""
    plain = at.labels.pin_value(at.x, f"{at.name} needs all of these places", range(2, len(at.x.shape)))
    factor = plain.on(1)
    if factor is None:
        return Value(at.shape)
    labels = np.repeat(factor.labels.reshape(-1), at.shape[1] // at.x.shape[1]).reshape(1, -1, 1)
    return Value(at.shape, (replace(factor, labels=labels),))


def _multiplied(at: Site, axis: int, times: int) -> Value:
    kept = at.labels.pin_value(at.x, f"{at.name} needs all of these places", range(axis + 1, len(at.x.shape)))
    return Value(at.shape, tuple(replace(f, labels=np.repeat(f.labels, times, axis)) for f in kept.factors))


def _grouped_axis(at: Site, axis: int, split: tuple[int, int], keep: int) -> Value:
    later = range(axis + 1, len(at.x.shape))
    kept = at.labels.pin_value(at.x, f"{at.name} needs all of these places", later)
    factor = kept.on(axis)
    if factor is None:
        return Value(at.shape)
    labels = factor.labels.reshape(split)
    first = np.take(labels, [0], 1 - keep)
    at.labels.join(labels, first)
    if first.size == 1:
        at.labels.pin(first, f"{at.name} makes one channel of all of its channels")
        return Value(at.shape)
    along = [first.size if i == axis else 1 for i in range(len(at.shape))]
    return Value(at.shape, (replace(factor, labels=first.reshape(along)),))


RULES: dict[str, Callable[[Site], Outcome]] = {
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"),
        reshape,
    ),
    **dict.fromkeys(
        ("permute", "transpose", "t", "movedim", "mT", "swapaxes", "swapdims", "adjoint", "numpy_T", "moveaxis"),
        permute,
    ),
    **dict.fromkeys(("expand", "broadcast_to"), expand),
    "expand_as": expand_as,
    **dict.fromkeys(("repeat", "tile"), repeat),
    "repeat_interleave": repeat_interleave,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), channel_shuffle),
    "im2col": im2col,
}
