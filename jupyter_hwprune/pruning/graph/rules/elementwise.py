"""Operators that work element by element, reductions, and tensors made from nothing."""

from collections.abc import Callable
from dataclasses import replace

from torch.fx import Node

from ..labels import Value, operator_name
from .site import Outcome, Rules, Site

KEEP_ZERO = """
    _conj _to_copy abs alias asin atan bfloat16 ceil celu clone conj contiguous data detach double dropout elu erf expm1
    feature_dropout fix float floor gelu half hardshrink hardswish hardtanh leaky_relu lift_fresh_copy log1p mish
    nan_to_num neg pin_memory positive relu relu6 requires_grad_ resolve_conj resolve_neg round rrelu selu sgn sign silu
    sin sinh softshrink sqrt square tan tanh tanhshrink to trunc type_as
"""  # f(0) = 0, and what is no change at all


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
    return _zero_where_all(at, at.meet(at.tensors, "never"), at.get("self"))


def add(at: Site) -> Outcome:
    return at.meet(at.tensors, "all" if len(at.tensors) == 2 else "never")


def power(at: Site) -> Outcome:
    exponent = at.get("exponent")
    return at.meet(at.tensors, "any" if isinstance(exponent, (int, float)) and exponent > 0 else "never")


def where(at: Site) -> Outcome:
    merged = at.meet([v for v in at.tensors if v.shape], "never")
    return _zero_where_all(at, merged, at.get("self"), at.get("other"))


def masked_fill(at: Site) -> Outcome:
    return at.meet([at["self"], at["mask"]], "any").zeroed(at.get("value") == 0)


def copy_into(at: Site) -> Outcome:
    return _zero_where_all(at, at.meet([at["self"], at["src"]], "never"), at["src"])


def _zero_where_all(at: Site, merged: Value, *parts: object) -> Value:
    """Say that what is masked out is zero where it is in all of the parts, unless one of them is a number."""
    given = [part for part in parts if isinstance(part, Value)]
    zero = {f.axes for f in at.meet(given, "all").factors if f.zero} if len(given) == len(parts) else set()
    return Value(merged.shape, tuple(replace(f, zero=f.axes in zero) for f in merged.factors))


def reduce_sum(at: Site) -> Outcome:
    """Sum over axes: a masked zero adds nothing, so that its absence changes nothing either."""
    return _reduced(at, lambda zero: zero, "adds up channels, of which one that is gone would not be zero")


def reduce_whole(at: Site) -> Outcome:
    if isinstance(at.get("other"), Value):  # the larger of two tensors
        return at.meet(at.tensors, "all")
    if at.get("keepdim") and _scales(at.node, at.node.args[0]):
        at.labels.over_kept[at.node.name] = at.x
        return _reduced(at, lambda _: True, "")
    return _reduced(at, lambda _: False, "depends on how many channels there are, and on all of them")


def _reduced(at: Site, passes: Callable[[bool], bool], what: str) -> Outcome:
    gone = at.axes() if "dim" in at.given else list(range(len(at.x.shape)))
    reason, factors = f"{at.name} {what}", []
    for each in at.x.factors:
        left = at.labels.choose_axis(each, gone, reason)
        if left is not None and not set(left.axes) & set(gone):
            factors.append(left)
        elif left is not None and not passes(left.zero):
            at.labels.pin(left.labels, reason)
    whole = Value(at.x.shape, tuple(factors))
    outside = [axis for axis in range(len(whole.shape)) if axis not in gone]
    shrunk = [
        Value(shape, whole.factors)
        if len(shape) == len(whole.shape)  # the axes that were reduced are kept with size 1
        else whole.moved(shape, lambda labels: labels.reshape([labels.shape[axis] for axis in outside]))
        for shape in at.shapes
    ]
    return shrunk if len(shrunk) > 1 else shrunk[0]


def _scales(node: Node, source: object) -> bool:
    """Say whether a mean or variance is that of a normalisation, which is taken over the channels that are there."""
    for user in node.users:
        operator = operator_name(user).rstrip("_")
        centres = operator == "sub" and user.args[0] is source
        roots = operator in {"rsqrt", "sqrt"} or (operator == "pow" and user.args[1] in {-0.5, 0.5})
        scalar = all(arg is node for arg in user.all_input_nodes)
        carries = operator in {"add", "mul", "clamp", "clamp_min", "to", "_to_copy", "type_as", "float", "alias"}
        if not (centres or roots or (carries and scalar and _scales(user, source))):
            return False
    return bool(node.users)


def over_axis(at: Site) -> Outcome:
    """Something along one axis that needs all of it, such as softmax."""
    kept = at.pin(at.x, "needs all of its channels", [at.axis(default=-1)]).zeroed(False)
    return kept if len(at.shapes) == 1 else [Value(shape, kept.factors) for shape in at.shapes]


def cumulative(at: Site) -> Outcome:
    return at.pin(at.x, "runs along its channels", at.axes("dims" if "dims" in at.given else "dim"))


def of_nothing(at: Site) -> Outcome:
    """Label a constant that is the same everywhere: of whatever size the code gives it, which the proof will show."""
    return at.labels.of_shape(at.shape, zero=at.operator.startswith(("zeros", "new_zeros")))


def like(at: Site) -> Outcome:
    return at.x.zeroed(at.operator.startswith("zeros"))


def unlabelled(at: Site) -> Outcome:
    return [Value(shape) for shape in at.shapes] if len(at.shapes) != 1 else Value(at.shape)


RULES: Rules = {
    keep_zero: KEEP_ZERO,
    clamp: "clamp clamp_min clamp_max maximum minimum",
    multiply: "mul multiply __and__ bitwise_and logical_and",
    divide: "div divide true_divide floor_divide",
    add: "add sub subtract rsub",
    power: "pow",
    where: "where",
    masked_fill: "masked_fill",
    copy_into: "copy",
    reduce_sum: "sum linalg_vector_norm norm",
    reduce_whole: "all amax amin any argmax argmin logsumexp max mean median min mode prod std var var_mean",
    over_axis: "softmax _softmax log_softmax _log_softmax sort topk argsort",
    cumulative: "cumsum cumprod logcumsumexp roll flip",
    of_nothing: "zeros ones full empty new_zeros new_ones new_full new_empty",
    like: "zeros_like ones_like full_like empty_like rand_like randn_like",
    unlabelled: "arange eye linspace tril_indices triu_indices scalar_tensor rand randn",
}
