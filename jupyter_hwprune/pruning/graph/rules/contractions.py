"""Products summed over axes: matrices, convolutions, attention, einsum, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..labels import Array, Factor, Value
from .site import Outcome, Site


def linear(at: Site) -> Outcome:
    """[.., C] by [K, C] -> [.., K]."""
    x, weight = at["input"], at["weight"]
    rank = len(x.shape)
    product = at.contract([x, weight], [range(rank), [rank, rank - 1]], [*range(rank - 1), rank])
    return _plus(at, product, at.get("bias"))


def addmm(at: Site) -> Outcome:
    product = at.contract([at["mat1"], at["mat2"]], [[0, 1], [1, 2]], [0, 2])
    return _plus(at, product, at["self"])


def matmul(at: Site) -> Outcome:
    a, b = at.tensors[-2:]
    if len(b.shape) == 1:
        own = list(range(len(a.shape)))
        return at.contract([a, b], [own, own[-1:]], own[:-1])
    rank = max(len(a.shape), len(b.shape))
    batch = list(range(rank - 2))
    row, inner, column = rank, rank + 1, rank + 2
    left = [*batch[len(batch) - len(a.shape) + 2 :], row, inner] if len(a.shape) > 1 else [inner]
    right = [*batch[len(batch) - len(b.shape) + 2 :], inner, column]
    output = [*batch, row, column] if len(a.shape) > 1 else [*batch, column]
    return _compact(at, [a, b], [left, right], output)


def baddbmm(at: Site) -> Outcome:
    return _plus(at, at.contract([at["batch1"], at["batch2"]], [[0, 1, 2], [0, 2, 3]], [0, 1, 3]), at["self"])


def dot(at: Site) -> Outcome:
    return at.contract(at.tensors, [[0], [0]], [])


def outer(at: Site) -> Outcome:
    return at.contract(at.tensors, [[0], [1]], [0, 1])


def einsum(at: Site) -> Outcome:
    equation = at["equation"].replace(" ", "")
    inputs, _, output = equation.partition("->")
    operands = inputs.split(",")
    dots = max(len(t.shape) - len(o.replace("...", "")) for o, t in zip(operands, at["tensors"], strict=True))
    named = [str(i) for i in range(dots)]

    def letters(term: str, rank: int | None = None) -> list[str]:
        before, ellipsis, after = term.partition("...")
        own = dots if rank is None else rank - len(before) - len(after)
        return [*before, *(named[dots - own :] if ellipsis else []), *after]

    terms = [letters(o, len(t.shape)) for o, t in zip(operands, at["tensors"], strict=True)]
    if "->" not in equation:
        flat = [c for term in terms for c in term]
        output = ("..." if dots else "") + "".join(sorted(c for c in set(flat) if c.isalpha() and flat.count(c) == 1))
    if any(len(set(term)) < len(term) for term in terms):
        for t in at.tensors:
            at.labels.pin_value(t, f"{at.name} takes a diagonal")
        return Value(at.shape)
    number = {c: i for i, c in enumerate(dict.fromkeys(c for term in terms for c in term))}
    return at.contract(
        at["tensors"], [[number[c] for c in term] for term in terms], [number[c] for c in letters(output)]
    )


def attention(at: Site) -> Outcome:
    """Attend: q [.., T, D], k [.., S, D], v [.., S, E] -> [.., T, E]; 1/sqrt(D) is in it, and so D stays."""
    q, k, v = at["query"], at["key"], at["value"]
    rank = len(q.shape)
    whole = f"{at.name} scales by the width of a head"
    q, k = (at.labels.pin_value(each, whole, [rank - 1]) for each in (q, k))
    if at.get("enable_gqa") and q.shape[-3] != k.shape[-3]:
        k, v = (_repeated(each, rank - 3, q.shape[-3]) for each in (k, v))
    batch = list(range(rank - 2))
    t, s, d, e = range(rank, rank + 4)
    parts, letters = [q, k, v], [[*batch, t, d], [*batch, s, d], [*batch, s, e]]
    mask = at.get("attn_mask")
    if isinstance(mask, Value):
        parts.append(mask)
        letters.append([*batch, t, s][rank - len(mask.shape) :])
    for part, own in zip(parts, letters, strict=True):  # softmax needs all that it is taken over
        for axis, letter in enumerate(own):
            if letter == s and part.on(axis) is not None:
                at.labels.pin_value(part, f"{at.name} needs all of these places", [axis])
    mixed = _compact(at, parts, letters, [*batch, t, e])
    zero = {axis for f in v.factors if f.zero for axis in f.axes}
    return Value(mixed.shape, tuple(replace(f, zero=bool(set(f.axes) & zero)) for f in mixed.factors))


def _repeated(value: Value, axis: int, heads: int) -> Value:
    times = heads // value.shape[axis]
    factors = (
        replace(f, labels=np.repeat(f.labels, times, axis)) if f.labels.shape[axis] > 1 else f for f in value.factors
    )
    return Value(tuple(heads if i == axis else n for i, n in enumerate(value.shape)), tuple(factors))


def embedding(at: Site) -> Outcome:
    """Ids [..] and weight [V, C] -> [.., C]."""
    kept = at.labels.pin_value(at["weight"], f"{at.name} reads its rows by number", [0])
    ids = at["indices"]
    at.labels.pin_value(ids, f"{at.name} reads by these")
    factor = kept.on(1)
    if factor is None:
        return Value(at.shape)
    return Value(at.shape, (replace(factor, labels=factor.labels.reshape([1] * len(ids.shape) + [-1])),))


def convolution(at: Site) -> Outcome:
    """Convolve x [B, C, ..] with weight [K, C/g, ..] -> [B, K, ..]; transposed, the weight is [C, K/g, ..]."""
    x, weight, groups = at["input"], at["weight"], int(at.get("groups") or 1)
    transposed = "transpose" in at.node.target.__name__ or bool(at.get("transposed"))  # type: ignore[union-attr]
    rank, spatial = len(x.shape), len(weight.shape) - 2
    reason = f"{at.name} needs all of these places"
    x = at.labels.pin_value(x, reason, range(rank - spatial, rank))
    weight = at.labels.pin_value(weight, reason, range(2, spatial + 2))
    channel = rank - spatial - 1
    inputs = _along_only(at, x, channel)
    ins, outs = (0, 1) if transposed else (1, 0)
    own_in, own_out = (_along_only(at, weight, axis) for axis in (ins, outs))
    if own_in is not None and not (transposed and groups > 1 and weight.shape[0] == groups):
        at.labels.read.append(own_in.labels.ravel())
    sizes = x.shape[channel], at.shape[channel]
    if groups == 1:
        _meet(at, inputs, own_in, sizes[0])
        output = None if own_out is None else own_out.labels.ravel()
    else:
        own_in, own_out = (None if f is None else replace(f, labels=f.labels.ravel()) for f in (own_in, own_out))
        output = _grouped(at, inputs, own_in, own_out, sizes, groups, transposed=transposed)
    if output is None or output.size == 1:
        result = Value(at.shape)
    else:
        along = [-1 if i == channel else 1 for i in range(len(at.shape))]
        zero = (own_in if transposed and groups > 1 else own_out) or inputs
        result = Value(at.shape, (Factor(output.reshape(along), zero is not None and zero.zero),))
    batch = tuple(f for f in x.factors if max(f.axes) < channel)
    result = Value(result.shape, (*batch, *result.factors))
    bias = at.get("bias")
    if not isinstance(bias, Value):
        return result
    return _plus(at, result, Value((bias.shape[0],) + (1,) * spatial, tuple(_tall(f, spatial) for f in bias.factors)))


def _tall(factor: Factor, spatial: int) -> Factor:
    return replace(factor, labels=factor.labels.reshape(-1, *[1] * spatial))


def _along_only(at: Site, value: Value, axis: int) -> Factor | None:
    """Return the factor of one axis, cut along nothing else."""
    factor = value.on(axis)
    if factor is None:
        return None
    factor = at.labels.simplified(factor)
    others = [other for other in factor.axes if other != axis]
    left = at.labels.decide(factor, others, [axis], at.name) if others and axis in factor.axes else factor
    return left if left is not None and axis in left.axes else None


def _meet(at: Site, a: Factor | None, b: Factor | None, size: int) -> None:
    if a is not None and b is not None:
        at.labels.join(a.labels.ravel(), b.labels.ravel())
    elif size > 1:
        for factor in (a, b):
            if factor is not None:
                at.labels.pin(factor.labels, f"its channels meet, in {at.name}, an axis that stays whole")


def _grouped(
    at: Site,
    inputs: Factor | None,
    own_in: Factor | None,
    own_out: Factor | None,
    sizes: tuple[int, int],
    groups: int,
    *,
    transposed: bool,
) -> Array | None:
    """Couple what a convolution of several groups reads and makes; return its outputs' labels. -> [K] or None."""
    c, k = sizes[0] // groups, sizes[1] // groups
    flat: Array | None = None if inputs is None else inputs.labels.ravel()
    if c == 1:  # depthwise: each group is one input channel, with all that it makes
        made = (own_in if transposed else own_out) or None
        if flat is None or made is None:
            for factor in (inputs, own_in, own_out):
                if factor is not None:
                    at.labels.pin(factor.labels, f"its channels meet, in {at.name}, an axis that stays whole")
            return None
        if transposed:  # weight [C, k, ..]
            at.labels.join(made.labels, flat)
            if own_out is not None:
                at.labels.pin(own_out.labels, f"{at.name} makes several channels of each")
            return np.repeat(flat, k)
        by_group = made.labels.reshape(groups, k)
        at.labels.join(by_group, flat[:, None])
        return made.labels
    share_in = own_in.labels.reshape(groups, c) if own_in is not None and transposed else None
    if flat is not None and own_in is not None:
        joined = share_in if share_in is not None else own_in.labels.reshape(1, c)
        at.labels.join(flat.reshape(groups, c), joined)
        if transposed:
            at.labels.shares.append((flat.reshape(groups, c), at.name))
    else:
        _meet(at, inputs, own_in, c)
    if own_out is None:
        return None
    if transposed:  # weight [C, K/g, ..]: one place of the weight is a channel in each group
        return np.tile(own_out.labels, groups)
    at.labels.shares.append((own_out.labels.reshape(groups, k), at.name))
    return own_out.labels


def _plus(at: Site, product: Value, bias: object) -> Value:
    if not isinstance(bias, Value):
        return product
    rank = len(product.shape)
    shape = product.shape
    lifted = Value((1,) * (rank - len(bias.shape)) + bias.shape, tuple(_lift(f, rank) for f in bias.factors))
    merged = at.labels.merge([product, lifted], (), at.name)
    return Value(shape, tuple(replace(f, zero=all(zeros)) for f, zeros in merged))


def _lift(factor: Factor, rank: int) -> Factor:
    return replace(factor, labels=factor.labels.reshape((1,) * (rank - factor.labels.ndim) + factor.labels.shape))


def _compact(at: Site, parts: list[Value], letters: list[list[int]], output: list[int]) -> Value:
    """Contract with the letters numbered without gaps."""
    number = {letter: i for i, letter in enumerate(sorted({letter for own in (*letters, output) for letter in own}))}
    return at.contract(parts, [[number[each] for each in own] for own in letters], [number[each] for each in output])


RULES: dict[str, Callable[[Site], Outcome]] = {
    "linear": linear,
    "addmm": addmm,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv"), matmul),
    "baddbmm": baddbmm,
    **dict.fromkeys(("dot", "vdot", "linalg_vecdot"), dot),
    **dict.fromkeys(("outer", "ger"), outer),
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
    "embedding": embedding,
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"),
        convolution,
    ),
}
