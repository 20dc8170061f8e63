"""Normalisations: over channels, they count those that are there; the masked reference has to do the same."""

from dataclasses import replace

import numpy as np

from ..labels import Factor, Value, aligned
from .site import PLACES, Outcome, Rules, Site


def batch_norm(at: Site) -> Outcome:
    """Normalise x [B, C, ..] with statistics, weight and bias [C]."""
    rank = len(at["input"].shape)
    x, channel = at.pin(at["input"], PLACES, range(2, rank)), min(1, rank - 1)
    own = {k: aligned(v, [channel], rank) for k, v in _vectors(at, "running_mean", "running_var").items()}

    def zero(factor: Factor, zeros: tuple[bool, ...]) -> bool:
        zeroed = dict(zip(own, zeros[1:], strict=True))
        return zeroed.get("weight", zeros[0]) and zeroed.get("bias", True) and channel in factor.axes

    first = at.merge([x, *own.values()], zero)
    rest = [Value(shape) for shape in at.shapes[1:]]
    return [first, *rest] if rest else first


def layer_norm(at: Site) -> Outcome:
    """Normalise the last axes, of shape `normalized_shape`; a head's own norm is cut by heads."""
    x, rank = at["input"], len(at["input"].shape)
    normed = set(range(rank - len(at["normalized_shape"]), rank))
    chosen = [at.labels.choose_axis(each, normed, at.name) for each in x.factors]
    x = Value(x.shape, tuple(factor for factor in chosen if factor is not None))
    at.labels.over_kept[at.node.name] = x
    return at.merge([x, *_vectors(at).values()], lambda f, zeros: bool(set(f.axes) & normed) or all(zeros))


def group_norm(at: Site) -> Outcome:
    """Normalise x [B, C, ..] in groups: each group keeps as many channels as the others."""
    groups, rank = at["num_groups"], len(at["input"].shape)
    x = at.pin(at["input"], PLACES, range(2, rank))
    factor = x.on(1)
    if factor is not None and factor.axes == (1,) and groups > 1:
        at.labels.shares.append(factor.labels.reshape(groups, -1))
    at.labels.over_kept[at.node.name] = x
    return at.merge([x, *(aligned(v, [1], rank) for v in _vectors(at).values())], lambda *_: True)


def _vectors(at: Site, *others: str) -> dict[str, Value]:
    return {k: v for k in ("weight", "bias", *others) if isinstance(v := at.get(k), Value)}


def weight_norm(at: Site) -> Outcome:
    """Scale v [K, C, ..] by g [K, 1, ..]: g v / |v|, to which a masked zero adds nothing."""
    return at.meet([at["v"], at["g"]], "any")


def glu(at: Site) -> Outcome:
    """Multiply the first half of an axis by the sigmoid of the second."""
    axis, factors = at.axis(default=-1), []
    for each in at.x.factors:
        left = at.labels.choose_axis(each, [axis], at.name)
        if left is None:
            continue
        if axis in left.axes:
            first, second = np.split(left.labels, 2, axis)
            at.labels.join(first, second)
            left = replace(left, labels=first)
        factors.append(left)
    return Value(at.shape, tuple(factors))


def prelu(at: Site) -> Outcome:
    x, rank = at["self"], len(at["self"].shape)
    return at.merge([x, aligned(at["weight"], [min(1, rank - 1)], rank)], lambda _, zeros: zeros[0])


RULES: Rules = {
    batch_norm: "batch_norm _native_batch_norm_legit_no_training instance_norm",
    layer_norm: "layer_norm rms_norm",
    group_norm: "group_norm",
    weight_norm: "_weight_norm _weight_norm_interface",
    glu: "glu",
    prelu: "prelu",
}
