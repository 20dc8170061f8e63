"""Tensors laid end to end, stacked or padded: what stands beside channels that stay, stays."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..labels import Array, Factor, Value, aligned, on_axis
from .shapes import spread_over
from .site import Outcome, Rules, Site


def cat(at: Site) -> Outcome:
    parts = [part for part in at["tensors"] if part.shape != (0,)]
    return _joined(at, parts, at.axis(value=parts[0]))


def stack(at: Site) -> Outcome:
    rank = len(at.shape)
    axis = int(at.get("dim") or 0) % rank
    own = [i for i in range(rank) if i != axis]
    return _joined(at, [aligned(part, own, rank) for part in at["tensors"]], axis)


def _joined(at: Site, parts: list[Value], axis: int) -> Value:
    along = [part.on(axis) for part in parts]
    present = [f for f in along if f is not None]
    inner = {axis, *(a for f in present for a in f.axes)}  # the axes of the labels that are laid end to end
    rest = [
        Value(
            tuple(1 if a in inner else size for a, size in enumerate(part.shape)),
            tuple(f for f in part.factors if not inner & set(f.axes)),
        )
        for part in parts
    ]
    factors = [replace(factor, zero=all(zeros)) for factor, zeros in at.labels.merge(rest, (), at.name)]
    if present:
        labels = [
            _staying(at, part.shape[axis], axis, len(part.shape)) if factor is None else factor.labels
            for part, factor in zip(parts, along, strict=True)
        ]
        joined = replace(present[0], labels=_end_to_end(labels, axis), zero=all(f.zero for f in present))
        factors.append(spread_over(at, joined))
    return Value(at.shape, tuple(factors))


def _staying(at: Site, count: int, axis: int, rank: int) -> Array:
    """Return labels for so many places that have none."""
    labels = at.labels.fresh(count)
    at.labels.pin(labels, f"{at.name} puts it beside channels that stay whole")
    return on_axis(labels, axis, rank)


def _end_to_end(arrays: Sequence[Array], axis: int) -> Array:
    others = np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in arrays))
    spread = [np.broadcast_to(a, (*others[:axis], a.shape[axis], *others[axis + 1 :])) for a in arrays]
    return np.concatenate(spread, axis)


def pad(at: Site) -> Outcome:
    """Pad the last axes; where those have channels, what is put beside them stays."""
    amounts, rank = list(at["pad"]), len(at.x.shape)
    constant = "constant" in at.operator or at.get("mode", "reflect") == "constant"
    mirrored = [] if constant else [rank - 1 - i // 2 for i in range(0, len(amounts), 2)]
    factors: list[Factor] = []
    for factor in at.pin(at.x, "mirrors its channels", mirrored).factors:
        labels = factor.labels
        for axis in factor.axes:
            i = 2 * (rank - 1 - axis)
            before, after = (*amounts[i : i + 2], 0, 0)[:2]
            ends = [_staying(at, max(count, 0), axis, rank) for count in (before, after)]
            labels = _end_to_end([ends[0], labels, ends[1]], axis)
            labels = labels[(slice(None),) * axis + (slice(max(-before, 0), labels.shape[axis] - max(-after, 0)),)]
        zero = factor.zero and constant and not at.get("value")
        factors.append(spread_over(at, replace(factor, labels=labels, zero=zero)))
    return Value(at.shape, tuple(factors))


RULES: Rules = {
    cat: "cat concat concatenate",
    stack: "stack",
    pad: "pad constant_pad_nd reflection_pad1d reflection_pad2d",
}
