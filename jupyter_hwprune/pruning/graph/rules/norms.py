"""Normalisations: over channels, they count those that are there; the masked reference has to do the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..labels import Value, aligned
from .site import Outcome, Site


def batch_norm(at: Site) -> Outcome:
    """Normalise x [B, C, ..] with statistics, weight and bias [C]."""
    x = at["input"]
    rank = len(x.shape)
    x = at.labels.pin_value(x, f"{at.name} needs all of these places", [a for a in range(rank) if a > 1])
    channel = 1 if rank > 1 else 0
    own = {k: at.get(k) for k in ("weight", "bias", "running_mean", "running_var")}
    vectors = {k: aligned(v, [channel], rank) for k, v in own.items() if isinstance(v, Value)}
    merged = list(at.labels.merge([x, *vectors.values()], (), at.name))
    names = list(vectors)
    factors = []
    for factor, zeros in merged:
        zeroed = dict(zip(names, zeros[1:], strict=True))
        scaled = zeroed.get("weight", zeros[0]) and zeroed.get("bias", True) and channel in factor.axes
        factors.append(replace(factor, zero=scaled))
    first = Value(x.shape, tuple(factors))
    rest = [Value(shape) for shape in at.shapes[1:]]
    return [first, *rest] if rest else first


def layer_norm(at: Site) -> Outcome:
    """Normalise the last axes, of shape `normalized_shape`; a head's own norm is cut by heads."""
    x, rank = at["input"], len(at["input"].shape)
    normed = set(range(rank - len(at["normalized_shape"]), rank))
    factors = []
    for each in x.factors:
        factor = at.labels.simplified(each)
        inside, outside = [a for a in factor.axes if a in normed], [a for a in factor.axes if a not in normed]
        left = at.labels.decide(factor, inside, outside, at.name) if inside and outside else factor
        factors += [] if left is None else [left]
    x = Value(x.shape, tuple(factors))
    at.labels.over_kept[at.node.name] = x
    own = [at.get(k) for k in ("weight", "bias")]
    vectors = [aligned(v, range(rank - len(v.shape), rank), rank) for v in own if isinstance(v, Value)]
    merged = at.labels.merge([x, *vectors], (), at.name)
    return Value(
        x.shape,
        tuple(replace(f, zero=bool(set(f.axes) & normed) or all(z)) for f, z in merged),
    )


def group_norm(at: Site) -> Outcome:
    """Normalise x [B, C, ..] in groups: each group keeps as many channels as the others."""
    x, groups = at["input"], at["num_groups"]
    rank = len(x.shape)
    x = at.labels.pin_value(x, f"{at.name} needs all of these places", [a for a in range(rank) if a > 1])
    factor = x.on(1)
    if factor is not None and factor.axes == (1,) and groups > 1:
        at.labels.shares.append((factor.labels.reshape(groups, -1), at.name))
    at.labels.over_kept[at.node.name] = x
    own = [at.get(k) for k in ("weight", "bias")]
    vectors = [aligned(v, [1], rank) for v in own if isinstance(v, Value)]
    return Value(x.shape, tuple(replace(f, zero=True) for f, _ in at.labels.merge([x, *vectors], (), at.name)))


def weight_norm(at: Site) -> Outcome:
    """Scale v [K, C, ..] by g [K, 1, ..]: g v / |v|, to which a masked zero adds nothing."""
    return at.meet([at["v"], at["g"]], "any")


def glu(at: Site) -> Outcome:
    """Multiply the first half of an axis by the sigmoid of the second."""
    axis, x = at.axis(default=-1), at.x
    size = x.shape[axis] // 2
    factors = []
    for each in x.factors:
        factor = at.labels.simplified(each)
        others = [a for a in factor.axes if a != axis]
        left = at.labels.decide(factor, [axis], others, at.name) if axis in factor.axes and others else factor
        if left is None:
            continue
        if axis in left.axes:
            first, second = np.split(left.labels, [size], axis)
            at.labels.join(first, second)
            left = replace(left, labels=first)
        factors.append(left)
    return Value(at.shape, tuple(factors))


def prelu(at: Site) -> Outcome:
    x, weight = at["self"], at["weight"]
    channel = 1 if len(x.shape) > 1 else 0
    parts = [x, aligned(weight, [channel], len(x.shape))]
    return Value(x.shape, tuple(replace(f, zero=zeros[0]) for f, zeros in at.labels.merge(parts, (), at.name)))


RULES: dict[str, Callable[[Site], Outcome]] = {
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training", "instance_norm"), batch_norm),
    **dict.fromkeys(("layer_norm", "rms_norm"), layer_norm),
    "group_norm": group_norm,
    **dict.fromkeys(("_weight_norm", "_weight_norm_interface"), weight_norm),
    "glu": glu,
    "prelu": prelu,
}
