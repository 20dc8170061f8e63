"""Patterns that zero single weights or blocks of a layer and leave its shape alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..choice import Allocation
from ..errors import PruneError
from ..pattern import NM, Block, Unstructured
from ..report import Layer, Skipped
from .compressed import compress
from .importance import magnitude
from .layers import PRUNABLE, as_matrix, from_matrix, layers_with_weights, reason_not_prunable
from .masks import block_sums, expand_blocks, keep_blocks, keep_n_of_m, keep_top
from .picture import draw
from .served import Sparse24, fits_two_of_four


def zero_weights(
    model: nn.Module,
    pattern: NM | Block | Unstructured,
    sparsity: float,
    allocation: Allocation,
    macs: dict[str, int],
    sparse24: Sparse24 | None = None,
) -> tuple[list[Layer], list[Skipped]]:
    """Zero weights of `model` in place so that every layer that fits holds the pattern.

    `sparsity` is the share of weights (of blocks) removed: of each layer when `uniform`, of all layers when `global`.
    With `sparse24`, a layer that its toolchain has no sparse kernel for stays dense.
    """
    fitting, skipped = _split(model, pattern, sparse24)
    keeps = _global_masks(fitting, pattern, sparsity) if allocation == "global" else _masks(fitting, pattern, sparsity)
    layers = []
    for (name, layer, weight), keep in zip(fitting, keeps, strict=True):
        if bool(keep.all()):
            shape = tuple(weight.shape)
            skipped.append(
                Skipped(name, type(layer).__name__, shape, f"{pattern} at {sparsity:.0%} removes nothing of it")
            )
            continue
        with torch.no_grad():
            weight.copy_(torch.where(from_matrix(keep, layer, weight.shape), weight, 0.0))  # 0.0, never -0.0
        layers.append(_describe(name, layer, weight, pattern, keep, macs.get(name), sparse24))
    return layers, skipped


def describe_zeros(
    dense: nn.Module,
    model: nn.Module,
    patterns: Mapping[str, NM | Block | Unstructured],
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


Fitting = list[tuple[str, nn.Module, nn.Parameter]]


def _split(
    model: nn.Module, pattern: NM | Block | Unstructured, sparse24: Sparse24 | None
) -> tuple[Fitting, list[Skipped]]:
    fitting: Fitting = []
    skipped = []
    seen = {  # weights that a layer which stays dense reads too
        id(weight): f"{name}, which stays dense"
        for name, module in model.named_modules()
        if not isinstance(module, PRUNABLE) and (weight := module._parameters.get("weight")) is not None  # noqa: SLF001
    }
    for name, module in layers_with_weights(model):
        reason = reason_not_prunable(module)
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


def _misfit(outputs: int, inputs: int, pattern: NM | Block | Unstructured) -> str | None:
    if isinstance(pattern, NM) and inputs % pattern.m:
        return f"{pattern} needs input channels in multiples of {pattern.m}, and it has {inputs} a group"
    if isinstance(pattern, Block) and (outputs % pattern.rows or inputs % pattern.columns):
        return f"blocks of {pattern} do not divide its {outputs} output by {inputs} input channels"
    return None


def _masks(fitting: Fitting, pattern: NM | Block | Unstructured, sparsity: float) -> Iterator[Tensor]:
    for _, layer, weight in fitting:
        scores = as_matrix(magnitude(weight), layer)  # [K, taps, C]
        if isinstance(pattern, NM):
            yield keep_n_of_m(scores, pattern.n, pattern.m)
        elif isinstance(pattern, Block):
            blocks = scores.numel() // (pattern.rows * pattern.columns)
            yield keep_blocks(scores, pattern.rows, pattern.columns, max(1, round((1 - sparsity) * blocks)))
        else:
            yield keep_top(scores, max(1, round((1 - sparsity) * scores.numel())))


def _global_masks(fitting: Fitting, pattern: NM | Block | Unstructured, sparsity: float) -> Iterator[Tensor]:
    """Rank the weights (blocks) of all layers together; n:m fixes each group, so there is nothing to share out."""
    if isinstance(pattern, NM):
        yield from _masks(fitting, pattern, sparsity)
        return
    scores = [as_matrix(magnitude(weight), layer) for _, layer, weight in fitting]
    if isinstance(pattern, Block):
        scores = [block_sums(s, pattern.rows, pattern.columns) for s in scores]
    for own in scores:  # no layer is emptied whole: its best stays, whatever the others have
        own[torch.unravel_index(own.argmax(), own.shape)] = torch.inf
    flat = torch.cat([s.flatten() for s in scores]) if scores else torch.empty(0)
    keep = keep_top(flat, max(len(scores), round((1 - sparsity) * flat.numel())))
    for part, own in zip(torch.split(keep, [s.numel() for s in scores]), scores, strict=True):
        mask = part.reshape(own.shape)
        yield expand_blocks(mask, pattern.rows, pattern.columns) if isinstance(pattern, Block) else mask


def _describe(
    name: str,
    layer: nn.Module,
    weight: Tensor,
    pattern: NM | Block | Unstructured,
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


def valid_share(matrix: Tensor, keep: Tensor, pattern: NM | Block | Unstructured) -> float:
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
