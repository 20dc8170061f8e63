"""Find layers with prunable weights, and view each weight as a matrix of output by input channels."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

Prunable = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # noqa: SLF001


def layers_with_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each module once that owns a parameter of two dimensions or more, in the order of definition."""
    for name, module in model.named_modules():
        if isinstance(module, NORMALISATIONS) or ".parametrizations." in f".{name}.":
            continue
        own = (*module._parameters.values(), *_parametrized(module))  # noqa: SLF001
        if any(p is not None and p.ndim >= 2 for p in own):
            yield name, module


def reason_not_prunable(module: nn.Module) -> str | None:
    """Return why the weight of this module cannot be pruned, or None where it can."""
    if _parametrized(module):
        return "its weight is computed by a parametrization; remove that first (torch.nn.utils.parametrize)"
    if not isinstance(module, PRUNABLE):
        return f"{type(module).__name__} is neither Linear nor Conv1d/2d nor ConvTranspose1d/2d"
    if own_weight(module) is None:
        return "its weight is no parameter of its own; undo weight_norm, spectral_norm or torch.nn.utils.prune first"
    return None


def own_weight(module: nn.Module) -> nn.Parameter | None:
    """Return the parameter `weight` of this very module, which no parametrization computes."""
    return module._parameters.get("weight")  # noqa: SLF001


def _parametrized(module: nn.Module) -> list[Any]:
    if not torch.nn.utils.parametrize.is_parametrized(module):
        return []
    return [getattr(module, name) for name in module.parametrizations]  # type: ignore[union-attr]


def as_matrix(weight: Tensor, layer: nn.Module) -> Tensor:
    """View a weight as [outputs, taps, inputs], inputs last: the axis along which a product is summed.

    Linear [K, C] -> [K, 1, C]; Conv [K, C/g, *taps] -> [K, taps, C/g];
    ConvTranspose [C, K/g, *taps] -> [g*K/g, taps, C/g] (its input channels stand first).
    """
    return matrix_of(weight, layer.groups if isinstance(layer, TRANSPOSED) else None)


def matrix_of(weight: Tensor, groups: int | None) -> Tensor:
    """Like `as_matrix`, without the layer: give a ConvTranspose's number of groups, or None for other layers."""
    if groups is not None:
        c, k = weight.shape[0] // groups, weight.shape[1]
        by_group = weight.reshape(groups, c, k, -1)  # [g, C/g, K/g, taps]
        return by_group.permute(0, 2, 3, 1).reshape(groups * k, -1, c)
    return weight.reshape(*weight.shape[:2], -1).transpose(1, 2)  # [K, taps, C/g]


def from_matrix(matrix: Tensor, layer: nn.Module, shape: torch.Size) -> Tensor:
    """Undo `as_matrix`."""
    if isinstance(layer, TRANSPOSED):
        groups = layer.groups
        by_group = matrix.reshape(groups, shape[1], -1, shape[0] // groups)  # [g, K/g, taps, C/g]
        return by_group.permute(0, 3, 1, 2).reshape(shape)
    return matrix.transpose(1, 2).reshape(shape)
