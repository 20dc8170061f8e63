"""Find layers with prunable weights, and view each weight as a matrix of output by input channels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Prunable = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
LOOKUPS = (nn.Embedding, nn.EmbeddingBag)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # noqa: SLF001


@dataclass(frozen=True)
class Weight:
    """One weight and what it computes: a row of the report, whatever the pattern.

    `name` is the module's path where `weight` is all that the module multiplies by, and else that of the `parameter`.
    `kind` is the module's class, and `computes` that of torch's whose arithmetic it is, None for a parameter that is
    no module's only one. Products sum over the dimensions that stand last in `order` (so many as `summed`); it is None
    for torch's own layers. `reason` says why it cannot hold zeros; then the layout may be unknown.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameter: str | None = None
    computes: str | None = None
    groups: int = 1
    order: tuple[int, ...] | None = None
    summed: int = 1
    of_input: bool = True  # what it multiplies is the input of the module called `name`
    macs: int | None = None  # of one pass over the example, where only a recording tells them
    reason: str | None = None

    def of(self, model: nn.Module) -> nn.Parameter:
        """Return this weight in the model, or in a copy of it."""
        assert self.parameter is not None
        return model.get_parameter(self.parameter)

    def as_matrix(self, weight: Tensor) -> Tensor:
        """View a weight, or its mask, as [outputs, taps, inputs]: with the axis last along which it is summed."""
        if self.order is None:
            return matrix_of(weight, self._transposed_groups)
        inputs = math.prod(weight.shape[dim] for dim in self.order[len(self.order) - self.summed :])
        return weight.permute(self.order).reshape(-1, 1, inputs)

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """Undo `as_matrix` for a weight of the dense shape."""
        if self.order is None:
            return weight_of(matrix, self._transposed_groups, torch.Size(self.shape))
        moved = matrix.reshape([self.shape[dim] for dim in self.order])
        return moved.permute([self.order.index(dim) for dim in range(len(self.order))])

    @property
    def channels(self) -> tuple[int, int]:
        """The outputs and the inputs of one product: of one expert, where the weights of several are stacked."""
        if self.order is not None:
            outer, inner = self.order[: -self.summed], self.order[-self.summed :]
            return self.shape[outer[-1]] if outer else 1, math.prod(self.shape[dim] for dim in inner)
        outputs, inputs = self.shape[:2]
        return (inputs * self.groups, outputs // self.groups) if self._transposed_groups else (outputs, inputs)

    @property
    def _transposed_groups(self) -> int | None:
        return self.groups if self.computes and "Transpose" in self.computes else None


def known_weights(name: str, module: nn.Module) -> list[Weight]:
    """Describe the weights of a module whose class says what it computes; an empty list if it does not."""
    kind, own, reason = type(module).__name__, own_weight(module), reason_not_prunable(module)
    if isinstance(module, PRUNABLE) or _parametrized(module) or isinstance(module, LOOKUPS):
        shape = () if own is None else tuple(own.shape)
        parameter = None if own is None else f"{name}.weight".lstrip(".")
        computes = next((each.__name__ for each in PRUNABLE if isinstance(module, each)), None)
        return [Weight(name, kind, shape, parameter, computes, getattr(module, "groups", 1), reason=reason)]
    if not isinstance(module, RECURRENT):
        return []
    named = {f"{name}.{own}".lstrip("."): parameter for own, parameter in matrices_of(module).items()}
    return [Weight(n, kind, tuple(p.shape), n, order=(0, 1), of_input=False) for n, p in named.items()]


def matrices_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the module's own parameters of two dimensions or more, by their names in it."""
    own = module._parameters.items()  # noqa: SLF001
    return {name: p for name, p in own if p is not None and p.ndim >= 2 and p.is_floating_point()}


def rows_of(name: str, module: nn.Module) -> dict[str, str]:
    """Map the module's own matrices, by their full names, to their rows: the module's if `weight` is the only one."""
    own = matrices_of(module)
    return {(full := f"{name}.{each}".lstrip(".")): name if list(own) == ["weight"] else full for each in own}


def weight_name(model: nn.Module, row: str) -> str:
    """Return the parameter that a row of the report is about: it has its own name, or is the `weight` of a module."""
    path, _, own = row.rpartition(".")
    if row and own in matrices_of(model.get_submodule(path)):
        return row
    return f"{row}.weight".lstrip(".")


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
    if isinstance(module, LOOKUPS):
        return f"{type(module).__name__} reads rows by their numbers and multiplies by none"
    if not isinstance(module, PRUNABLE):
        return f"{type(module).__name__} is neither Linear nor a convolution"
    if own_weight(module) is None:
        return "its weight is not a parameter; undo weight_norm, spectral_norm or torch.nn.utils.prune first"
    if not module.get_parameter("weight").numel():
        return "its weight is empty"
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
    return weight_of(matrix, layer.groups if isinstance(layer, TRANSPOSED) else None, shape)


def weight_of(matrix: Tensor, groups: int | None, shape: torch.Size) -> Tensor:
    """Undo `matrix_of`."""
    if groups is not None:
        by_group = matrix.reshape(groups, shape[1], -1, shape[0] // groups)  # [g, K/g, taps, C/g]
        return by_group.permute(0, 3, 1, 2).reshape(shape)
    return matrix.transpose(1, 2).reshape(shape)
