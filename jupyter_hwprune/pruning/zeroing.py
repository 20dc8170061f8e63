"""Which weights of each layer go, and what the others become: by magnitude, by activation, or by second order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..pattern import NM, Block, Unstructured
from .importance import activation, magnitude
from .layers import as_matrix, from_matrix, groups_of
from .masks import block_sums, expand_blocks, keep_blocks, keep_n_of_m, keep_top
from .method import Method
from .sequential import layer_by_layer
from .solver import solve
from .statistics import Statistics

Zeros = NM | Block | Unstructured
Fitting = Sequence[tuple[str, nn.Module, nn.Parameter]]


@dataclass(frozen=True)
class Zeroed:
    """What stays of a layer's weight, `keep` as [K, taps, C]; the rest is the second-order solver's to tell.

    `error` is the layer's relative squared error on its calibration inputs, `damping` the share of the Hessian's mean
    diagonal that was added to it, and `raised` how often that was not enough.
    """

    keep: Tensor
    error: float | None = None
    damping: float | None = None
    raised: int = 0


def zero(
    model: nn.Module,
    fitting: Fitting,
    pattern: Zeros,
    shares: Mapping[str, float],
    method: Method,
    done: Callable[[str, Zeroed], None],
) -> dict[str, str]:
    """Zero `shares` of the weights of the layers of `model`, in place, and say of each what is `done`.

    Only one mask is there at a time, but where all layers are ranked together. Returns why layers were not reached.
    """
    if method.allocation == "global":
        return _zero_together(model, fitting, pattern, next(iter(shares.values()), 0.0), method, done)
    weights = {name: weight for name, _, weight in fitting}

    def visit(name: str, layer: nn.Module, statistics: Statistics | None = None) -> None:
        if method.importance == "second-order":
            assert statistics is not None
            done(name, _solved(weights[name], layer, statistics, pattern, shares[name]))
            return
        keep = masked(_worth(weights[name], layer, statistics), pattern, shares[name], by_row=_by_row(method))
        apply(weights[name], layer, keep)
        done(name, Zeroed(keep))

    return _visit_all(model, fitting, method, visit)


def apply(weight: nn.Parameter, layer: nn.Module, keep: Tensor) -> None:
    """Zero what `keep` [K, taps, C] does not hold, in place."""
    with torch.no_grad():
        weight.copy_(torch.where(from_matrix(keep, layer, weight.shape), weight, 0.0))  # 0.0, never -0.0


def masked(scores: Tensor, pattern: Zeros, sparsity: float, *, by_row: bool = False) -> Tensor:
    """Keep the highest scores [K, taps, C] in the pattern, each output's own where `by_row`. -> bool [K, taps, C]."""
    if isinstance(pattern, NM):
        return keep_n_of_m(scores, pattern.n, pattern.m)
    if isinstance(pattern, Block):
        blocks = scores.numel() // (pattern.rows * pattern.columns)
        return keep_blocks(scores, pattern.rows, pattern.columns, max(1, round((1 - sparsity) * blocks)))
    if by_row:
        inputs = scores[0].numel()
        kept = max(1, round((1 - sparsity) * inputs))
        return keep_n_of_m(scores.flatten(1), kept, inputs).reshape(scores.shape)
    return keep_top(scores, max(1, round((1 - sparsity) * scores.numel())))


def _by_row(method: Method) -> bool:
    return method.importance == "activation"  # Wanda ranks the inputs of each output (Sun et al. 2023, section 3)


def _worth(weight: Tensor, layer: nn.Module, statistics: Statistics | None) -> Tensor:
    """Score each weight in the layout of `as_matrix`. -> [K, taps, C]."""
    matrix = as_matrix(weight.detach(), layer)
    if statistics is None:
        return magnitude(matrix)
    k, taps, c = matrix.shape
    groups = len(statistics.norms)
    by_group = matrix.reshape(groups, k // groups, taps * c)
    return activation(by_group, statistics.norms[:, None, :]).reshape(matrix.shape)


def _solved(weight: nn.Parameter, layer: nn.Module, statistics: Statistics, pattern: Zeros, sparsity: float) -> Zeroed:
    """Solve each group of the layer by itself, for each has inputs of its own, and write the weight.

    A bias takes over what the mean of the inputs gave by the weights that go, so that only what varies is solved for.
    """
    matrix = as_matrix(weight.detach(), layer)  # [K, taps, C]
    k, taps, _ = matrix.shape
    groups = groups_of(layer)
    bias = layer.bias
    gram = statistics.gram if bias is None else statistics.centred_gram()
    assert gram is not None
    rows = matrix.reshape(groups, k // groups, -1).float()
    solved = [solve(rows[g], gram[g], pattern, sparsity, taps=taps) for g in range(groups)]
    result = torch.stack([each.weight for each in solved]).reshape(matrix.shape)
    keep = torch.stack([each.keep for each in solved]).reshape(matrix.shape)
    with torch.no_grad():
        if isinstance(bias, Tensor):
            gone = rows - result.reshape(rows.shape)  # [g, K/g, D]
            bias += (gone @ statistics.means[:, :, None]).flatten().to(bias.dtype)
        weight.copy_(from_matrix(result, layer, weight.shape))
    errors = [each.error for each in solved if each.error is not None]
    error = sum(errors) / groups if len(errors) == groups else None
    return Zeroed(keep, error, max(each.damping for each in solved), max(each.raised for each in solved))


def _zero_together(
    model: nn.Module,
    fitting: Fitting,
    pattern: Zeros,
    sparsity: float,
    method: Method,
    done: Callable[[str, Zeroed], None],
) -> dict[str, str]:
    """Rank the weights (blocks) of all layers together; n:m fixes each group, so there is nothing to share out."""
    scores: dict[str, Tensor] = {}
    layers = {name: (layer, weight) for name, layer, weight in fitting}

    def visit(name: str, layer: nn.Module, statistics: Statistics | None = None) -> None:
        own = _worth(layers[name][1], layer, statistics)
        scores[name] = block_sums(own, pattern.rows, pattern.columns) if isinstance(pattern, Block) else own

    unreached = _visit_all(model, fitting, method, visit)
    if isinstance(pattern, NM):
        keeps = {name: keep_n_of_m(own, pattern.n, pattern.m) for name, own in scores.items()}
    else:
        keeps = _ranked_together(scores, sparsity)
        if isinstance(pattern, Block):
            keeps = {name: expand_blocks(own, pattern.rows, pattern.columns) for name, own in keeps.items()}
    for name, keep in keeps.items():
        layer, weight = layers[name]
        apply(weight, layer, keep)
        done(name, Zeroed(keep))
    return unreached


def _ranked_together(scores: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    for own in scores.values():  # no layer is emptied whole: its best stays, whatever the others have
        own[torch.unravel_index(own.argmax(), own.shape)] = torch.inf
    flat = torch.cat([own.flatten() for own in scores.values()]) if scores else torch.empty(0)
    keep = keep_top(flat, max(len(scores), round((1 - sparsity) * flat.numel())))
    parts = torch.split(keep, [own.numel() for own in scores.values()])
    return {name: part.reshape(own.shape) for (name, own), part in zip(scores.items(), parts, strict=True)}


def _visit_all(model: nn.Module, fitting: Fitting, method: Method, visit: Callable[..., None]) -> dict[str, str]:
    """Visit the layers, with the statistics of their inputs where the importance looks at those.

    Returns why layers were not reached.
    """
    if method.importance == "magnitude":
        for name, layer, _ in fitting:
            visit(name, layer)
        return {}
    if method.calibration is None:
        raise InputError(f"--importance {method.importance} looks at inputs, and there are none. Give --calib.")
    names = [name for name, _, _ in fitting]
    return layer_by_layer(model, names, method.calibration, visit, gram=method.importance == "second-order")
