"""Which weights of each layer go, and what the others become: by magnitude, by activation, or by second order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.pattern import NM, Block, Channel
from .fitting import Fitting, ZeroPattern
from .importance import activation, magnitude
from .layers import as_matrix, from_matrix
from .masks import keep_blocks, keep_n_of_m, keep_top
from .method import Method
from .plan import Part
from .sequential import layer_by_layer
from .solver import solve
from .statistics import Statistics

Done = Callable[[str, Tensor, float | None, float | None], None]
"""Takes a layer's name and mask `keep` [K, taps, C], and, of the second-order solver alone, its relative squared error
on the calibration inputs, and the damping as a share of the Hessian's mean diagonal, if that had to be raised."""


def zero(model: nn.Module, fitting: Fitting, parts: Mapping[str, Part], method: Method, done: Done) -> dict[str, str]:
    """Zero each layer's part in the weights of `model`, in place, and call `done` for each.

    One mask is there at a time, but where the method ranks all layers together by their inputs: those are the dense
    model's, so nothing is zeroed before all masks are made. Returns why layers were not reached.
    """
    weights = {name: weight for name, _, weight in fitting}
    waiting: list[tuple[str, nn.Module, Tensor]] = []

    def finish(name: str, layer: nn.Module, keep: Tensor) -> None:
        apply(weights[name], layer, keep)
        done(name, keep, None, None)

    def visit(name: str, layer: nn.Module, statistics: Statistics | None = None) -> None:
        weight, part = weights[name], parts[name]
        assert not isinstance(part.pattern, Channel)
        if method.importance == "second-order":
            assert statistics is not None
            done(name, *_solved(weight, layer, statistics, part.pattern, part.share))
            return
        keep = masked(worth(weight, layer, statistics), part.pattern, part.share, by_row=method.ranks_rows)
        if method.ranks_dense_inputs:
            waiting.append((name, layer, keep))
        else:
            finish(name, layer, keep)

    unreached = visit_all(model, fitting, method, visit)
    for name, layer, keep in waiting:
        finish(name, layer, keep)
    return unreached


def apply(weight: nn.Parameter, layer: nn.Module, keep: Tensor) -> None:
    """Zero what `keep` [K, taps, C] does not hold, in place."""
    with torch.no_grad():
        weight.copy_(torch.where(from_matrix(keep, layer, weight.shape), weight, 0.0))  # 0.0, never -0.0


def masked(scores: Tensor, pattern: ZeroPattern, sparsity: float, *, by_row: bool = False) -> Tensor:
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


def worth(weight: Tensor, layer: nn.Module, statistics: Statistics | None) -> Tensor:
    """Score each weight in the layout of `as_matrix`. -> [K, taps, C]."""
    matrix = as_matrix(weight.detach(), layer)
    if statistics is None:
        return magnitude(matrix)
    k, taps, c = matrix.shape
    groups = len(statistics.norms)
    by_group = matrix.reshape(groups, k // groups, taps * c)
    return activation(by_group, statistics.norms[:, None, :]).reshape(matrix.shape)


def _solved(
    weight: nn.Parameter, layer: nn.Module, statistics: Statistics, pattern: ZeroPattern, share: float
) -> tuple[Tensor, float | None, float | None]:
    """Solve each group of the layer by itself, for each has inputs of its own, and write the weight.

    A bias takes over what the mean of the inputs gave by the weights that go, so that only what varies is solved for.
    Returns what `Done` takes beside the name.
    """
    matrix = as_matrix(weight.detach(), layer)  # [K, taps, C]
    k, taps, _ = matrix.shape
    bias = layer.bias
    gram = statistics.gram if bias is None else statistics.centred_gram()
    assert gram is not None
    rows = matrix.reshape(len(gram), k // len(gram), -1).float()  # [g, K/g, D]
    solved = [solve(own, products, pattern, share, taps=taps) for own, products in zip(rows, gram, strict=True)]
    result = torch.stack([each.weight for each in solved]).reshape(matrix.shape)
    keep = torch.stack([each.keep for each in solved]).reshape(matrix.shape)
    with torch.no_grad():
        if isinstance(bias, Tensor):
            gone = rows - result.reshape(rows.shape)  # [g, K/g, D]
            bias += (gone @ statistics.means[:, :, None]).flatten().to(bias.dtype)
        weight.copy_(from_matrix(result, layer, weight.shape))
    errors = [each.error for each in solved if each.error is not None]
    raised = any(each.raised for each in solved)
    return keep, sum(errors) / len(solved), max(each.damping for each in solved) if raised else None


def visit_all(model: nn.Module, fitting: Fitting, method: Method, visit: Callable[..., None]) -> dict[str, str]:
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
