"""Patterns that zero single weights or blocks of a layer and leave its shape alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..errors import PruneError
from ..pattern import NM, Block, Unstructured
from ..report import Layer, Sensitivity, Skipped
from .allocation import leave_dense, share_out
from .channels import ASKED
from .compressed import compress
from .importance import magnitude
from .layers import PRUNABLE, as_matrix, layers_with_weights, reason_not_prunable
from .masks import block_sums
from .method import Method
from .picture import draw
from .served import Sparse24, fits_two_of_four
from .zeroing import Fitting, Zeroed, Zeros, apply, masked, zero


@dataclass(frozen=True)
class Zeroes:
    """The layers that hold the pattern now, those left dense and why, and what was found on the way.

    `raised` is the damping of the layers whose Hessian was not positive definite, as a share of its mean diagonal.
    """

    layers: list[Layer]
    skipped: list[Skipped]
    sensitivity: Sensitivity | None
    raised: dict[str, float]


def zero_weights(
    model: nn.Module,
    pattern: Zeros,
    sparsity: float,
    method: Method,
    macs: dict[str, int],
    sparse24: Sparse24 | None,
    progress: Callable[[str], None],
) -> Zeroes:
    """Zero weights of `model` in place so that every layer that fits holds the pattern.

    `sparsity` is the share of weights (of blocks) removed: of each layer when `uniform`, of all layers otherwise.
    With `sparse24`, a layer that its toolchain has no sparse kernel for stays dense.
    """
    fitting, skipped = _split(model, pattern, sparse24, method.dense)
    sensitivity, shares = _shares(model, fitting, pattern, sparsity, method, progress)
    at = {name: (layer, weight) for name, layer, weight in fitting}
    found: dict[str, Layer | Skipped] = {}
    raised: dict[str, float] = {}

    def done(name: str, zeroed: Zeroed) -> None:
        progress(name)
        layer, weight = at[name]
        if bool(zeroed.keep.all()):
            reason = f"{pattern} at {shares[name]:.0%} removes nothing of it"
            found[name] = Skipped(name, type(layer).__name__, tuple(weight.shape), reason)
            return
        if zeroed.raised and zeroed.damping is not None:
            raised[name] = zeroed.damping
        described = _describe(name, layer, weight, pattern, zeroed.keep, macs.get(name), sparse24)
        found[name] = replace(described, error=zeroed.error)

    unreached = zero(model, fitting, pattern, shares, method, done)
    for name, reason in unreached.items():
        found[name] = Skipped(name, type(at[name][0]).__name__, tuple(at[name][1].shape), reason)
    in_order = [found[name] for name in at if name in found]
    return Zeroes(
        [each for each in in_order if isinstance(each, Layer)],
        skipped + [each for each in in_order if isinstance(each, Skipped)],
        sensitivity,
        raised,
    )


def _shares(
    model: nn.Module,
    fitting: Fitting,
    pattern: Zeros,
    sparsity: float,
    method: Method,
    progress: Callable[[str], None],
) -> tuple[Sensitivity | None, dict[str, float]]:
    """Return what each layer loses, and the scan that this rests on, where one was asked for."""
    layers = {name: layer for name, layer, _ in fitting}
    group = pattern.rows * pattern.columns if isinstance(pattern, Block) else 1

    def prune_one(trial: nn.Module, name: str, share: float) -> float:
        weight, layer = trial.get_parameter(f"{name}.weight".lstrip(".")), layers[name]
        keep = masked(magnitude(as_matrix(weight.detach(), layer)), pattern, share)
        apply(weight, layer, keep)
        return 1 - int(keep.sum()) / keep.numel()

    sizes = {name: weight.numel() for name, _, weight in fitting}
    return share_out(model, method, sparsity, sizes, dict.fromkeys(sizes, group), prune_one, progress)


def describe_zeros(
    dense: nn.Module,
    model: nn.Module,
    patterns: Mapping[str, Zeros],
    reasons: Mapping[str, str],
    macs: dict[str, int],
    sparse24: Sparse24 | None = None,
) -> tuple[list[Layer], list[Skipped]]:
    """Describe the zeros that somebody else has put into `model`, a copy of `dense`.

    `patterns` are those meant for the weights, by name, and `reasons` say why layers were passed over. Raises
    PruneError for a layer whose zeros are not the pattern.
    """
    layers, skipped, broken = [], [], []
    for name, module in layers_with_weights(model):
        weight = module._parameters.get("weight")  # noqa: SLF001
        shape = () if weight is None else tuple(weight.shape)
        reason = reason_not_prunable(module)
        if reason is None and weight is not None:
            before = dense.get_parameter(f"{name}.weight".lstrip("."))
            keep = as_matrix((weight != 0) | (before == 0), module)  # [K, taps, C]
            pattern = patterns.get(f"{name}.weight".lstrip("."), Unstructured())
            if bool(keep.all()):
                reason = reasons.get(name) or "no zeros were made in it"
            elif (misfit := _misfit(keep.shape[0], keep.shape[2], pattern)) is not None:
                broken.append(f"{name}: {misfit}")
            else:
                layers.append(_describe(name, module, weight, pattern, keep, macs.get(name), sparse24))
                if not layers[-1].valid:
                    broken.append(f"{name}: {layers[-1].valid_groups:.0%} of its groups hold {pattern}")
        if reason is not None:
            skipped.append(Skipped(name, type(module).__name__, shape, reason))
    if broken:
        raise PruneError(
            f"The zeros made are not the pattern that was asked for ({'; '.join(broken[:4])}), so no sparse kernel "
            "could use them. Leave such layers out, ask for another mask there, or use --pattern instead."
        )
    return layers, skipped


def _split(
    model: nn.Module, pattern: Zeros, sparse24: Sparse24 | None, dense: tuple[str, ...]
) -> tuple[list[tuple[str, nn.Module, nn.Parameter]], list[Skipped]]:
    fitting = []
    skipped = []
    left_dense = leave_dense([name for name, _ in layers_with_weights(model)], dense)
    seen = {  # weights that a layer which stays dense reads too
        id(weight): f"{name}, which stays dense"
        for name, module in model.named_modules()
        if (weight := module._parameters.get("weight")) is not None  # noqa: SLF001
        and (name in left_dense or not isinstance(module, PRUNABLE))
    }
    for name, module in layers_with_weights(model):
        reason = ASKED if name in left_dense else reason_not_prunable(module)
        weight = module._parameters.get("weight")  # noqa: SLF001
        if reason is None and weight is not None:
            if id(weight) in seen:
                reason = f"it shares its weight with {seen[id(weight)]}"
            else:
                seen[id(weight)] = f"{name}, where it is pruned"
                outputs, _, inputs = as_matrix(weight, module).shape
                reason = _misfit(outputs, inputs, pattern)
                if reason is None and sparse24 is not None:
                    reason = sparse24.reason_not_served(module, outputs, inputs)
        if reason is None and weight is not None:
            fitting.append((name, module, weight))
        else:
            shape = () if weight is None else tuple(weight.shape)
            skipped.append(Skipped(name, type(module).__name__, shape, reason or "it has no weight"))
    return fitting, skipped


def _misfit(outputs: int, inputs: int, pattern: Zeros) -> str | None:
    if isinstance(pattern, NM) and inputs % pattern.m:
        return f"{pattern} needs input channels in multiples of {pattern.m}, and it has {inputs} a group"
    if isinstance(pattern, Block) and (outputs % pattern.rows or inputs % pattern.columns):
        return f"blocks of {pattern} do not divide its {outputs} output by {inputs} input channels"
    return None


def _describe(
    name: str,
    layer: nn.Module,
    weight: Tensor,
    pattern: Zeros,
    keep: Tensor,
    macs: int | None,
    sparse24: Sparse24 | None,
) -> Layer:
    zeros = 1 - int(weight.count_nonzero()) / weight.numel()
    matrix = as_matrix(weight.detach(), layer)
    valid_groups = valid_share(matrix, keep, pattern)
    shape = tuple(weight.shape)
    described = Layer(
        name,
        type(layer).__name__,
        shape,
        pruned_shape=shape,
        pattern=str(pattern),
        sparsity=round(zeros, 6),
        macs=macs,
        pruned_macs=None if macs is None else round(macs * (1 - zeros)),
        valid=valid_groups == 1.0,
        valid_groups=valid_groups,
        picture=draw(keep.flatten(1)),
    )
    if sparse24 is None or not fits_two_of_four(pattern):
        return described
    served = sparse24.served_by(layer, matrix.shape[0], matrix.shape[2])
    return replace(described, served_by=served, compressed=compress(matrix.flatten(1), sparse24.dtype))


def valid_share(matrix: Tensor, keep: Tensor, pattern: Zeros) -> float:
    """Return the share of a weight's groups [K, taps, C] that hold the pattern, recounted from the weights themselves.

    n:m: groups with at most n weights left. Blocks: those all zero, or with nothing removed from them.
    """
    if isinstance(pattern, NM):
        left = (matrix != 0).reshape(-1, pattern.m).sum(dim=1)
        return float((left <= pattern.n).float().mean())
    if isinstance(pattern, Block):
        empty = block_sums((matrix != 0).float(), pattern.rows, pattern.columns) == 0
        whole = block_sums((~keep).float(), pattern.rows, pattern.columns) == 0
        return float((empty | whole).float().mean())
    return float(not matrix[~keep].any())
