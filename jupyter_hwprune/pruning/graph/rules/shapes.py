"""Views, permutations, slices, joins: they act on the arrays of labels as they do on the tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..labels import Array, Factor, Value, aligned
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
        factors.append(_spread(at, replace(factor, labels=array)))
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


def _spread(at: Site, factor: Factor) -> Factor:
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


def cat(at: Site) -> Outcome:
    parts = [part for part in at["tensors"] if part.shape != (0,)]
    axis = at.axis(value=parts[0])
    return _joined(at, parts, axis, at.shape)


def stack(at: Site) -> Outcome:
    rank = len(at.shape)
    axis = int(at.get("dim") or 0) % rank
    own = [i for i in range(rank) if i != axis]
    return _joined(at, [aligned(part, own, rank) for part in at["tensors"]], axis, at.shape)


def _joined(at: Site, parts: list[Value], axis: int, shape: tuple[int, ...]) -> Value:
    along = [part.on(axis) for part in parts]
    inner = {axis} | {a for f in along if f is not None for a in f.axes}  # what `_along` sees to
    rest = [
        Value(
            tuple(1 if a in inner else size for a, size in enumerate(part.shape)),
            tuple(f for f in part.factors if not inner & set(f.axes)),
        )
        for part in parts
    ]
    factors = [replace(factor, zero=all(zeros)) for factor, zeros in at.labels.merge(rest, (), at.name)]
    if any(f is not None for f in along):
        factors.append(_along(at, parts, along, axis))
    return Value(shape, tuple(factors))


def _along(at: Site, parts: list[Value], along: list[Factor | None], axis: int) -> Factor:
    """Lay the labels on the joined axis end to end; a part without any gets some that stay."""
    arrays: list[Array] = []
    for part, factor in zip(parts, along, strict=True):
        if factor is None:
            labels = at.labels.fresh(part.shape[axis])
            at.labels.pin(labels, f"{at.name} puts it beside channels that stay whole")
            arrays.append(labels.reshape([-1 if i == axis else 1 for i in range(len(part.shape))]))
        else:
            arrays.append(factor.labels)
    others = np.broadcast_shapes(*(tuple(1 if i == axis else n for i, n in enumerate(a.shape)) for a in arrays))
    spread = [np.broadcast_to(a, [a.shape[axis] if i == axis else n for i, n in enumerate(others)]) for a in arrays]
    present = [f for f in along if f is not None]
    joined = Factor(np.concatenate(spread, axis), all(f.zero for f in present), next((f.view for f in present), ""))
    return _spread(at, joined)


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


def pad(at: Site) -> Outcome:
    """Pad the last axes; where those have channels, what is put beside them stays."""
    amounts, rank = list(at["pad"]), len(at.x.shape)
    constant = "constant" in at.node.target.__name__ or at.get("mode", "reflect") == "constant"  # type: ignore[union-attr]
    zero = constant and not at.get("value")
    factors = []
    for factor in at.labels.pin_value(
        at.x, f"{at.name} mirrors its channels", _padded(amounts, rank, constant)
    ).factors:
        labels = factor.labels
        for axis in factor.axes:
            i = 2 * (rank - 1 - axis)
            before, after = (*amounts[i : i + 2], 0, 0)[:2]
            ends = []
            for count in (before, after):
                end = at.labels.fresh(max(count, 0))
                at.labels.pin(end, f"{at.name} puts it beside channels that stay whole")
                shape = [labels.shape[a] if a != axis else len(end) for a in range(rank)]
                ends.append(np.broadcast_to(end.reshape([-1 if a == axis else 1 for a in range(rank)]), shape))
            labels = np.concatenate([ends[0], labels, ends[1]], axis)
            labels = labels[(slice(None),) * axis + (slice(max(-before, 0), labels.shape[axis] - max(-after, 0)),)]
        factors.append(_spread(at, replace(factor, labels=labels, zero=factor.zero and zero)))
    return Value(at.shape, tuple(factors))


def _padded(amounts: list[int], rank: int, constant: bool) -> list[int]:
    return [] if constant else [rank - 1 - i // 2 for i in range(0, len(amounts), 2)]


def unfold(at: Site) -> Outcome:
    kept = at.passed(at.x, [at.axis("dimension")], zero=True, what="slides over its channels")
    return Value(at.shape, aligned(kept, range(len(kept.shape)), len(at.shape)).factors)


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
    "select": select,
    **dict.fromkeys(("slice", "narrow"), slices),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split"), pieces),
    "unbind": unbind,
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    "stack": stack,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), channel_shuffle),
    "im2col": im2col,
    "index": indexed,
    **dict.fromkeys(("index_select", "gather", "take_along_dim"), gathered),
    **dict.fromkeys(("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d"), pad),
    "unfold": unfold,
}
