"""Views, permutations, repeats: they act on the arrays of labels as they do on the tensors."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ..labels import Array, Factor, Value, aligned, on_axis, without_repeats
from .site import PLACES, Outcome, Rules, Site, repeated

LARGEST = 1 << 24  # labels of one view


def reshape(at: Site) -> Outcome:
    sizes = at.get("size", at.get("shape", at.get("sizes")))
    if isinstance(sizes, (list, tuple)):
        for axis, size in enumerate(at.x.shape):
            if size not in sizes:  # it is split, or joined with others
                at.note_size(axis, f"makes the sizes {', '.join(map(str, sizes))}")
    return reshaped(at, at.x, at.shape)


def reshaped(at: Site, value: Value, shape: tuple[int, ...]) -> Value:
    """Give the value another shape, whatever view that took."""
    if 0 in shape:
        return Value(shape)
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
    factor = replace(factor, labels=without_repeats(factor.labels))
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
    if len(at.shape) < 2:
        return at.x
    if "dims" in at.given:
        move: Callable[[Array], Array] = partial(np.transpose, axes=at["dims"])
    elif "source" in at.given:
        move = partial(np.moveaxis, source=at["source"], destination=at["destination"])
    else:
        default = (0, 1) if at.operator == "t" else (-2, -1)
        a, b = (at.get(f"dim{i}", at.get(f"axis{i}", default[i])) for i in (0, 1))
        move = partial(np.swapaxes, axis1=a, axis2=b)
    return at.x.moved(at.shape, move)


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

    def tiled(labels: Array) -> Array:
        return np.tile(labels, [n if size > 1 else 1 for n, size in zip(times, labels.shape, strict=True)])

    return aligned(at.x, range(rank - len(at.x.shape), rank), rank).moved(at.shape, tiled)


def repeat_interleave(at: Site) -> Outcome:
    times, axis = at.get("repeats"), at.get("dim")
    if not isinstance(times, int) or axis is None:
        at.pin(at.x, "repeats its channels unevenly")
        return Value(at.shape)
    return repeated(at.x, times, axis % len(at.shape))


def pixel_shuffle(at: Site) -> Outcome:
    """[.., C*r*r, H, W] -> [.., C, H*r, W*r]: the r*r channels that become one go together."""
    rank = len(at.shape)
    axis = rank - 3
    factor = at.pin(at.x, PLACES, range(axis + 1, rank)).on(axis)
    if factor is None:
        return Value(at.shape)
    labels = factor.labels.reshape(at.shape[axis], -1)  # [C, r*r]
    at.labels.join(labels, labels[:, :1])
    if len(labels) == 1:
        at.labels.pin(labels, f"{at.name} makes one channel of all of its channels")
        return Value(at.shape)
    return Value(at.shape, (replace(factor, labels=on_axis(labels[:, 0], axis, rank)),))


def pixel_unshuffle(at: Site) -> Outcome:
    axis = len(at.shape) - 3
    kept = at.pin(at.x, PLACES, range(axis + 1, len(at.shape)))
    return Value(at.shape, repeated(kept, at["downscale_factor"] ** 2, axis).factors)


def channel_shuffle(at: Site) -> Outcome:
    g, (batch, channels, *places) = at["groups"], at.x.shape
    split = reshaped(at, at.x, (batch, g, channels // g, *places))
    turned = split.moved((batch, channels // g, g, *places), lambda labels: np.swapaxes(labels, 1, 2))
    return reshaped(at, turned, at.shape)


def im2col(at: Site) -> Outcome:
    """[B, C, H, W] -> [B, C*taps, L]."""
    kept = at.pin(at.x, PLACES, range(2, len(at.x.shape)))
    return repeated(kept, at.shape[1] // at.x.shape[1], 1).moved(at.shape, lambda labels: labels[..., 0])


RULES: Rules = {
    reshape: "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as",
    permute: "permute transpose t movedim mT swapaxes swapdims adjoint numpy_T moveaxis",
    expand: "expand broadcast_to",
    expand_as: "expand_as",
    repeat: "repeat tile",
    repeat_interleave: "repeat_interleave",
    pixel_shuffle: "pixel_shuffle",
    pixel_unshuffle: "pixel_unshuffle",
    channel_shuffle: "channel_shuffle native_channel_shuffle",
    im2col: "im2col",
}
