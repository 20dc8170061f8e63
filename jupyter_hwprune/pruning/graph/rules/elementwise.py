"""Operators that work element by element, reductions, and tensors made from nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch.fx import Node

from ..labels import Value
from .site import Outcome, Site

KEEP_ZERO = (
    "_conj", "_to_copy", "abs", "alias", "asin", "atan", "bfloat16", "ceil", "celu", "clone", "conj", "contiguous",
    "data", "detach", "double", "dropout", "elu", "erf", "expm1", "feature_dropout", "fix", "float", "floor",
    "gelu", "half", "hardshrink", "hardswish", "hardtanh", "leaky_relu", "lift_fresh_copy", "log1p", "mish",
    "nan_to_num", "neg", "pin_memory", "positive", "relu", "relu6", "requires_grad_", "resolve_conj", "resolve_neg",
    "round", "rrelu", "selu", "sgn", "sign", "silu", "sin", "sinh", "softshrink", "sqrt", "square", "tan", "tanh",
    "tanhshrink", "to", "trunc", "type_as",
)  # fmt: skip
"""f(0) = 0, and what is no change at all."""

WHOLE = (
    "all", "amax", "amin", "any", "argmax", "argmin", "logsumexp", "max", "mean", "median", "min", "mode", "prod",
    "std", "var", "var_mean",
)  # fmt: skip


def pointwise(at: Site) -> Outcome:
    """Join all tensors; what is masked out does not stay zero."""
    return at.meet(at.tensors, "never")


def keep_zero(at: Site) -> Outcome:
    least = at.get("min_val")  # of hardtanh
    return at.x.zeroed(least is None or least <= 0)


def clamp(at: Site) -> Outcome:
    low, high = at.get("min"), at.get("max")
    plain = not isinstance(low, Value) and not isinstance(high, Value)
    zero = plain and (low is None or low <= 0) and (high is None or high >= 0)
    return at.meet(at.tensors, "all" if zero else "never")


def multiply(at: Site) -> Outcome:
    return at.meet(at.tensors, "any")


def divide(at: Site) -> Outcome:
    merged = at.meet(at.tensors, "never")
    numerator = at.get("self")
    if isinstance(numerator, Value):
        zero = at.meet([numerator], "any")
        kept = {f.axes for f in zero.factors if f.zero}
        return Value(merged.shape, tuple(replace(f, zero=f.axes in kept) for f in merged.factors))
    return merged


def add(at: Site) -> Outcome:
    return at.meet(at.tensors, "all" if len(at.tensors) == 2 else "never")


def power(at: Site) -> Outcome:
    exponent = at.get("exponent")
    return at.meet(at.tensors, "any" if isinstance(exponent, (int, float)) and exponent > 0 else "never")


def where(at: Site) -> Outcome:
    merged = at.meet([v for v in at.tensors if v.shape], "never")
    sides = [at.get("self"), at.get("other")]
    if all(isinstance(side, Value) for side in sides):
        zero = {f.axes: f.zero for f in at.meet(sides, "all").factors}
        return Value(merged.shape, tuple(replace(f, zero=zero.get(f.axes, False)) for f in merged.factors))
    return merged


def masked_fill(at: Site) -> Outcome:
    merged = at.meet([at["self"], at["mask"]], "any")
    return merged.zeroed(at.get("value") == 0)


def copy_into(at: Site) -> Outcome:
    merged = at.meet([at["self"], at["src"]], "never")
    zero = {f.axes for f in at["src"].factors if f.zero} if len(at["src"].shape) == len(merged.shape) else set()
    return Value(merged.shape, tuple(replace(f, zero=f.axes in zero) for f in merged.factors))


def reduce_sum(at: Site) -> Outcome:
    """Sum over axes: a masked zero adds nothing, so that its absence changes nothing either."""
    return _reduced(
        at, lambda factor_zero: factor_zero, "adds up channels, of which one that is gone would not be zero"
    )


def reduce_whole(at: Site) -> Outcome:
    if isinstance(at.get("other"), Value):  # the larger of two tensors
        return at.meet(at.tensors, "all")
    if at.get("keepdim") and _scales(at.node, at.node.args[0]):
        at.labels.over_kept[at.node.name] = at.x
        return _reduced(at, lambda _: True, "")
    return _reduced(at, lambda _: False, "depends on how many channels there are, and on all of them")


def over_axis(at: Site) -> Outcome:
    """Something along one axis that needs all of it, such as softmax."""
    kept = at.passed(at.x, [at.axis(default=-1)], zero=False, what="needs all of its channels")
    return kept if len(at.shapes) == 1 else [Value(shape, kept.factors) for shape in at.shapes]


def cumulative(at: Site) -> Outcome:
    axes = at.axes("dims") if "dims" in at.given else at.axes()
    return at.passed(at.x, axes, zero=True, what="runs along its channels")


def _scales(node: Node, source: object) -> bool:
    """Say whether a mean or variance is that of a normalisation, which is taken over the channels that are there."""
    for user in node.users:
        operator = _plain(user)
        centres = operator == "sub" and user.args[0] is source
        roots = operator in {"rsqrt", "sqrt"} or (operator == "pow" and user.args[1] in {-0.5, 0.5})
        scalar = len([arg for arg in user.all_input_nodes if arg is not node]) == 0
        carries = operator in {"add", "mul", "clamp", "clamp_min", "to", "_to_copy", "type_as", "float", "alias"}
        if not (centres or roots or (carries and scalar and _scales(user, source))):
            return False
    return bool(node.users)


def _plain(node: Node) -> str:
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0].rstrip("_")


def of_nothing(at: Site) -> Outcome:
    """Label a constant that is the same everywhere: of whatever size the code gives it, which the proof will show."""
    return at.labels.of_shape(at.shape, zero=at.node.target.__name__.startswith(("zeros", "new_zeros")))  # type: ignore[union-attr]


def like(at: Site) -> Outcome:
    return at.x.zeroed(at.node.target.__name__.startswith("zeros"))  # type: ignore[union-attr]


def unlabelled(at: Site) -> Outcome:
    return [Value(shape) for shape in at.shapes] if len(at.shapes) != 1 else Value(at.shape)


def _reduced(at: Site, passes: Callable[[bool], bool], what: str) -> Outcome:
    gone = at.axes() if "dim" in at.given else list(range(len(at.x.shape)))
    value, reason = at.x, f"{at.name} {what}"
    outside = [axis for axis in range(len(value.shape)) if axis not in gone]
    factors = []
    for each in value.factors:
        factor = at.labels.simplified(each)
        inside = [axis for axis in factor.axes if axis in gone]
        rest = [axis for axis in factor.axes if axis in outside]
        left = at.labels.decide(factor, inside, rest, reason) if inside and rest else factor
        if left is None:
            continue
        if not set(left.axes) & set(gone):
            factors.append(left)
        elif not passes(left.zero):
            at.labels.pin(left.labels, reason)
    left_over = Value(value.shape, tuple(factors))
    shrunk = [_shrunk(left_over, shape, outside) for shape in at.shapes]
    return shrunk if len(shrunk) > 1 else shrunk[0]


def _shrunk(value: Value, shape: tuple[int, ...], outside: list[int]) -> Value:
    """Take the axes that were reduced out of the labels, unless they are kept with size 1."""
    if len(shape) == len(value.shape):
        return Value(shape, value.factors)
    factors = tuple(
        replace(f, labels=f.labels.reshape([f.labels.shape[axis] for axis in outside])) for f in value.factors
    )
    return Value(shape, factors)


RULES: dict[str, Callable[[Site], Outcome]] = {
    **dict.fromkeys(KEEP_ZERO, keep_zero),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "maximum", "minimum"), clamp),
    **dict.fromkeys(("mul", "multiply", "__and__", "bitwise_and", "logical_and"), multiply),
    **dict.fromkeys(("div", "divide", "true_divide", "floor_divide"), divide),
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), add),
    "pow": power,
    "where": where,
    "masked_fill": masked_fill,
    "copy": copy_into,
    **dict.fromkeys(("sum", "linalg_vector_norm", "norm"), reduce_sum),
    **dict.fromkeys(WHOLE, reduce_whole),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "sort", "topk", "argsort"), over_axis),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "roll", "flip"), cumulative),
    **dict.fromkeys(("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty"), of_nothing),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"), like),
    **dict.fromkeys(
        ("arange", "eye", "linspace", "tril_indices", "triu_indices", "scalar_tensor", "rand", "randn"), unlabelled
    ),
}
