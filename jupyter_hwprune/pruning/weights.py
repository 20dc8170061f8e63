"""Zero weights by a plan, and describe each layer; describe zeros that another tool has made."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from ..core.errors import PruneError
from ..core.pattern import NM, Block, Channel, Depth, Unstructured
from ..report import Layer, Skipped
from .compressed import compress
from .fitting import ZeroPattern, find_fitting, misfit
from .layers import Weight
from .masks import block_sums
from .method import Method, Tell
from .picture import draw
from .plan import Plan
from .served import Served
from .zeroing import zero


def zero_weights(
    model: nn.Module,
    weights: Sequence[Weight],
    plan: Plan,
    method: Method,
    macs: Mapping[str, int],
    served: Served | None,
    progress: Tell,
) -> tuple[list[Layer], list[Skipped], dict[str, float]]:
    """Zero `weights` of `model` in place by the plan; `served` tells which toolchains run a layer sparsely.

    Returns the layers that hold their patterns now, those left dense and why, and the damping of those whose Hessian
    was not positive definite, as a share of its mean diagonal. Raises PruneError where a layer of the plan is not
    there, or cannot hold its pattern.
    """
    patterns = {
        name: part.pattern for name, part in plan.parts.items() if not isinstance(part.pattern, (Channel, Depth))
    }
    fitting, reasons = find_fitting(model, weights, patterns)
    for name, part in plan.parts.items():
        if name not in fitting:
            reason = reasons.get(name) or "the model has no such layer with weights"
            raise PruneError(
                f"The plan takes {part.share:.0%} of {name!r} by {part.pattern}, which cannot be done: {reason}. Leave "
                "it out of the plan, or give it another pattern."
            )
    reasons |= plan.reasons
    found: dict[str, Layer] = {}
    raised: dict[str, float] = {}

    def done(name: str, keep: Tensor, error: float | None, damping: float | None) -> None:
        progress(name)
        part = plan.parts[name]
        if bool(keep.all()):
            reasons[name] = f"{part} removes nothing of it" if part.share else "the plan takes nothing of it"
            return
        if damping is not None:
            raised[name] = damping
        described = _describe(model, fitting[name], patterns[name], keep, macs.get(name), served)
        found[name] = replace(described, error=error)

    reasons |= zero(model, fitting, plan.parts, method, done, progress)
    skipped = [_skipped(each, reasons[each.name]) for each in weights if each.name not in found]
    return [found[name] for name in fitting if name in found], skipped, raised


def describe_zeros(
    dense: nn.Module,
    model: nn.Module,
    weights: Sequence[Weight],
    patterns: Mapping[str, ZeroPattern],
    reasons: Mapping[str, str],
    macs: Mapping[str, int],
    served: Served | None = None,
) -> tuple[list[Layer], list[Skipped]]:
    """Describe the zeros that somebody else has put into `model`, a copy of `dense`.

    `patterns` are those meant for the weights, by name, and `reasons` say why layers were passed over. Raises
    PruneError for a layer whose zeros are not the pattern.
    """
    layers, skipped, broken = [], [], []
    for each in weights:
        name, reason = each.name, each.reason
        if reason is None:
            assert each.parameter is not None
            keep = each.as_matrix((each.of(model) != 0) | (each.of(dense) == 0))  # [K, taps, C]
            pattern = patterns.get(each.parameter, Unstructured())
            if bool(keep.all()):
                reason = reasons.get(name) or "no zeros were made in it"
            elif (unfit := misfit(*each.channels, pattern)) is not None:
                broken.append(f"{name}: {unfit}")
            else:
                layers.append(_describe(model, each, pattern, keep, macs.get(name), served))
                if not layers[-1].valid:
                    broken.append(f"{name}: {layers[-1].valid_groups:.0%} of its groups hold {pattern}")
        if reason is not None:
            skipped.append(_skipped(each, reason))
    if broken:
        raise PruneError(
            f"The zeros made are not the pattern that was asked for ({'; '.join(broken[:4])}), so no sparse kernel "
            "could use them. Leave such layers out, ask for another mask there, or use --pattern instead."
        )
    return layers, skipped


def _skipped(weight: Weight, reason: str) -> Skipped:
    return Skipped(weight.name, weight.kind, weight.shape, reason)


def _describe(
    model: nn.Module, layer: Weight, pattern: ZeroPattern, keep: Tensor, macs: int | None, served: Served | None
) -> Layer:
    weight = layer.of(model).detach()
    zeros = 1 - int(weight.count_nonzero()) / weight.numel()
    matrix = layer.as_matrix(weight)
    valid_groups = valid_share(matrix, keep, pattern)
    described = Layer(
        layer.name,
        layer.kind,
        layer.shape,
        pruned_shape=layer.shape,
        pattern=str(pattern),
        sparsity=round(zeros, 6),
        macs=macs,
        pruned_macs=None if macs is None else round(macs * (1 - zeros)),
        valid=valid_groups == 1.0,
        valid_groups=valid_groups,
        picture=draw(keep.flatten(1)),
        groups=layer.groups if layer.groups > 1 else None,
    )
    if served is None or not served.takes(pattern):
        return described
    return replace(described, served_by=served.served_by(layer), compressed=compress(matrix.flatten(1), served.dtype))


def valid_share(matrix: Tensor, keep: Tensor, pattern: ZeroPattern) -> float:
    """Return the share of a weight's groups [K, taps, C] that hold the pattern, recounted from the weight itself."""
    if isinstance(pattern, NM):
        left = (matrix != 0).reshape(-1, pattern.m).sum(dim=1)
        return float((left <= pattern.n).float().mean())
    if isinstance(pattern, Block):
        empty = block_sums((matrix != 0).float(), pattern.rows, pattern.columns) == 0
        whole = block_sums((~keep).float(), pattern.rows, pattern.columns) == 0
        return float((empty | whole).float().mean())
    return float(not matrix[~keep].any())
