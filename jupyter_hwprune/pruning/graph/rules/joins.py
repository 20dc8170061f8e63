"""Tensors laid end to end, stacked or padded: what stands beside channels that stay, stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..labels import Array, Factor, Value, aligned
from .shapes import spread_over
from .site import Outcome, Site


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
    return spread_over(at, joined)


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
        factors.append(spread_over(at, replace(factor, labels=labels, zero=factor.zero and zero)))
    return Value(at.shape, tuple(factors))


def _padded(amounts: list[int], rank: int, constant: bool) -> list[int]:
    return [] if constant else [rank - 1 - i // 2 for i in range(0, len(amounts), 2)]


RULES: dict[str, Callable[[Site], Outcome]] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    "stack": stack,
    **dict.fromkeys(("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d"), pad),
}
