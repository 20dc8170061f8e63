"""Products summed over axes: matrices, convolutions, attention, einsum, embeddings."""

from dataclasses import replace

import numpy as np

from ..labels import Array, Factor, Value, on_axis
from .site import PLACES, Outcome, Rules, Site, repeated


def linear(at: Site) -> Outcome:
    """[.., C] by [K, C] -> [.., K]."""
    x, weight = at["input"], at["weight"]
    rank = len(x.shape)
    product = at.contract([x, weight], [range(rank), [rank, rank - 1]], [*range(rank - 1), rank])
    return _plus(at, product, at.get("bias"))


def addmm(at: Site) -> Outcome:
    return _plus(at, at.contract([at["mat1"], at["mat2"]], ["rc", "ck"], "rk"), at["self"])


def matmul(at: Site) -> Outcome:
    a, b = (len(t.shape) for t in at.tensors[-2:])
    rank = max(a, b)
    batch, row, inner, column = list(range(rank - 2)), rank, rank + 1, rank + 2
    left = [*batch[rank - a :], row, inner] if a > 1 else [inner]
    right = [*batch[rank - b :], inner, column] if b > 1 else [inner]
    return at.contract(at.tensors[-2:], [left, right], [*batch, *[row] * (a > 1), *[column] * (b > 1)])


def baddbmm(at: Site) -> Outcome:
    return _plus(at, at.contract([at["batch1"], at["batch2"]], ["brc", "bck"], "brk"), at["self"])


def grouped_mm(at: Site) -> Outcome:
    """Rows [T, C], sorted by expert, each by its own expert's matrix of [E, C, K] -> [T, K]."""
    x, experts, *offsets = at.tensors
    for value in offsets:
        at.pin(value, "divides the rows by these")
    return at.contract([x, at.pin(experts, "takes experts by number", [0])], ["rc", "eck"], "rk")


def dot(at: Site) -> Outcome:
    return at.contract(at.tensors, ["c", "c"], "")


def outer(at: Site) -> Outcome:
    return at.contract(at.tensors, ["r", "k"], "rk")


def einsum(at: Site) -> Outcome:
    tensors = at["tensors"]
    inputs, arrow, output = at["equation"].replace(" ", "").partition("->")
    operands = inputs.split(",")
    dots = max(len(t.shape) - len(o.replace("...", "")) for o, t in zip(operands, tensors, strict=True))
    named = [str(i) for i in range(dots)]

    def letters(term: str, rank: int | None = None) -> list[str]:
        before, ellipsis, after = term.partition("...")
        own = dots if rank is None else rank - len(before) - len(after)
        return [*before, *(named[dots - own :] if ellipsis else []), *after]

    terms = [letters(o, len(t.shape)) for o, t in zip(operands, tensors, strict=True)]
    if not arrow:
        flat = [c for term in terms for c in term]
        output = ("..." if dots else "") + "".join(sorted(c for c in set(flat) if c.isalpha() and flat.count(c) == 1))
    if any(len(set(term)) < len(term) for term in terms):
        for t in tensors:
            at.pin(t, "takes a diagonal")
        return Value(at.shape)
    return at.contract(tensors, terms, letters(output))


def attention(at: Site) -> Outcome:
    """Attend: q [.., T, D], k [.., S, D], v [.., S, E] -> [.., T, E]; 1/sqrt(D) is in it, and so D stays."""
    rank = len(at["query"].shape)
    q, k = (at.pin(at[each], "scales by the width of a head", [rank - 1]) for each in ("query", "key"))
    v = at["value"]
    if at.get("enable_gqa") and q.shape[-3] != k.shape[-3]:
        k, v = (repeated(each, q.shape[-3] // each.shape[-3], rank - 3) for each in (k, v))
    batch = list(range(rank - 2))
    t, s, d, e = range(rank, rank + 4)
    parts, letters = [q, k, v], [[*batch, t, d], [*batch, s, d], [*batch, s, e]]
    mask = at.get("attn_mask")
    if isinstance(mask, Value):
        parts.append(mask)
        letters.append([*batch, t, s][rank - len(mask.shape) :])
    for part, own in zip(parts, letters, strict=True):  # softmax needs all that it is taken over
        at.pin(part, PLACES, [axis for axis, letter in enumerate(own) if letter == s])
    mixed = at.contract(parts, letters, [*batch, t, e])
    zero = {axis for f in v.factors if f.zero for axis in f.axes}
    return Value(mixed.shape, tuple(replace(f, zero=bool(set(f.axes) & zero)) for f in mixed.factors))


def embedding(at: Site) -> Outcome:
    """Ids [..] and weight [V, C] -> [.., C]."""
    kept = at.pin(at["weight"], "reads its rows by number", [0])
    at.pin(at["indices"], "reads by these")
    return kept.moved(at.shape, lambda labels: on_axis(labels, len(at.shape) - 1, len(at.shape)))


def embedding_bag(at: Site) -> Outcome:
    """Ids [N], bags and weight [V, C] -> the bags' sums, means or maxima [B, C], and what its gradient needs."""
    kept = at.pin(at["weight"], "reads its rows by number", [0])
    for value in at.tensors[1:]:
        at.pin(value, "reads by these")
    made = kept.moved(at.shape, lambda labels: on_axis(labels.ravel(), 1, 2))
    return [made, *(Value(shape) for shape in at.shapes[1:])]


def convolution(at: Site) -> Outcome:
    """Convolve x [B, C, ..] with weight [K, C/g, ..] -> [B, K, ..]; transposed, the weight is [C, K/g, ..]."""
    x, weight, groups = at["input"], at["weight"], int(at.get("groups") or 1)
    transposed = "transpose" in at.operator or bool(at.get("transposed"))
    rank, spatial = len(x.shape), len(weight.shape) - 2
    channel = rank - spatial - 1
    if not _by_place(at, weight):
        x = at.pin(x, PLACES, range(channel + 1, rank))
    weight = at.pin(weight, PLACES, range(2, spatial + 2))
    inputs = _along_only(at, x, channel)
    own_in, own_out = (_along_only(at, weight, axis) for axis in ((0, 1) if transposed else (1, 0)))
    if own_in is not None and not (transposed and groups > 1 and weight.shape[0] == groups):
        at.labels.read.append(own_in.labels)
    if groups == 1:
        at.pair(inputs, own_in)
        output = None if own_out is None else own_out.labels
    elif x.shape[channel] == groups:
        output = _depthwise(at, inputs, own_in, own_out, at.shape[channel] // groups, transposed=transposed)
    else:
        output = _grouped(at, inputs, own_in, own_out, groups, transposed=transposed)
    factors = [f for f in x.factors if channel not in f.axes]
    if output is not None and output.size > 1:
        zero = (own_in if transposed and groups > 1 else own_out) or inputs
        factors.append(Factor(on_axis(output, channel, len(at.shape)), zero is not None and zero.zero))
    bias = at.get("bias")
    if isinstance(bias, Value):
        bias = bias.moved((*bias.shape, *[1] * spatial), lambda labels: on_axis(labels, 0, spatial + 1))
    return _plus(at, Value(at.shape, tuple(factors)), bias)


def _by_place(at: Site, weight: Value) -> bool:
    """Say whether each place is multiplied by itself: a kernel of 1 that neither steps nor pads."""
    ones = all(size == 1 for size in weight.shape[2:]) and all(step == 1 for step in at.get("stride") or [1])
    padding = at.get("padding")
    return ones and (isinstance(padding, str) or not any([*(padding or [0]), *(at.get("output_padding") or [0])]))


def _along_only(at: Site, value: Value, axis: int) -> Factor | None:
    """Return the factor of one axis, cut along nothing else, with its labels in a row."""
    factor, others = value.on(axis), set(range(len(value.shape))) - {axis}
    left = None if factor is None else at.labels.choose_axis(factor, others, at.name)
    return replace(left, labels=left.labels.ravel()) if left is not None and axis in left.axes else None


def _depthwise(
    at: Site, inputs: Factor | None, own_in: Factor | None, own_out: Factor | None, k: int, *, transposed: bool
) -> Array | None:
    """Couple each input channel, a group of its own, with the k that it makes; return their labels. -> [K] or None."""
    made = own_in if transposed else own_out
    if inputs is None or made is None:
        at.pair(inputs, own_in, own_out)
        return None
    at.labels.join(made.labels.reshape(len(inputs.labels), -1), inputs.labels[:, None])
    if not transposed:
        return made.labels
    if own_out is not None:  # weight [C, k, ..]
        at.labels.pin(own_out.labels, f"{at.name} makes several channels of each")
    return np.repeat(inputs.labels, k)


def _grouped(
    at: Site, inputs: Factor | None, own_in: Factor | None, own_out: Factor | None, groups: int, *, transposed: bool
) -> Array | None:
    """Couple what a convolution of several groups reads and makes; return its outputs' labels. -> [K] or None."""
    if inputs is None or own_in is None:
        at.pair(inputs, own_in)
    else:
        by_group = inputs.labels.reshape(groups, -1)  # [g, C/g]
        at.labels.join(by_group, own_in.labels.reshape(-1, by_group.shape[1]))
        if transposed:
            at.labels.shares.append(by_group)
    if own_out is None:
        return None
    if transposed:  # weight [C, K/g, ..]: one place of the weight is a channel in each group
        return np.tile(own_out.labels, groups)
    at.labels.shares.append(own_out.labels.reshape(groups, -1))
    return own_out.labels


def _plus(at: Site, product: Value, bias: object) -> Value:
    return at.meet([product, bias], "all") if isinstance(bias, Value) else product


RULES: Rules = {
    linear: "linear",
    addmm: "addmm",
    matmul: "matmul mm bmm mv",
    baddbmm: "baddbmm",
    grouped_mm: "_grouped_mm grouped_mm_fallback",
    dot: "dot vdot linalg_vecdot",
    outer: "outer ger",
    einsum: "einsum",
    attention: "scaled_dot_product_attention",
    embedding: "embedding",
    embedding_bag: "embedding_bag _embedding_bag _embedding_bag_forward_only",
    convolution: "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution",
}
