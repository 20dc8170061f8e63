"""Which weights of each layer go, and what the others become: by magnitude, by activation, or by second order."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.options import Solver
from ..core.pattern import NM, Block, Channel, Depth
from .fitting import ZeroPattern
from .importance import activation, magnitude
from .layers import Weight
from .masks import keep_blocks, keep_blocks_evenly, keep_n_of_m, keep_top
from .method import Method, Tell
from .plan import Part
from .sequential import layer_by_layer
from .solver import solve
from .statistics import Statistics

UNSEEN = "no module takes its input as its own, so that input is not seen; use --importance magnitude, alone or for it"
Done = Callable[[str, Tensor, float | None, float | None], None]
"""Takes a layer's name and mask `keep` [K, taps, C]; of the solver alone, its relative squared error on the calibration
inputs, and the damping, as a share of the Hessian's mean diagonal, if that had to be raised."""


def zero(
    model: nn.Module,
    fitting: Mapping[str, Weight],
    parts: Mapping[str, Part],
    method: Method,
    done: Done,
    tell: Tell = lambda _layer: None,
) -> dict[str, str]:
    """Zero each layer's part in the weights of `model`, in place, and call `done` for each.

    By their inputs, each output ranks its own weights, as in Wanda (Sun et al. 2023, section 3). Where all layers are
    ranked together, the inputs are the dense model's (those of later layers shrink as layers are pruned), so nothing is
    zeroed before all masks are made; else, one mask is there at a time. Returns why layers were not reached.
    """
    by_input, together = method.importance == "activation", method.allocation == "global"
    waiting: dict[str, Tensor] = {}

    def finish(name: str, keep: Tensor) -> None:
        apply(model, fitting[name], keep)
        done(name, keep, None, None)

    def visit(name: str, statistics: Statistics | None = None) -> None:
        part = parts[name]
        assert not isinstance(part.pattern, (Channel, Depth))
        if method.importance == "second-order":
            assert statistics is not None
            done(name, *_solved(model, fitting[name], statistics, part, method.solver, tell))
            return
        keep = masked(
            worth(model, fitting[name], statistics), part.pattern, part.share, by_row=by_input and not together
        )
        if by_input and together:
            waiting[name] = keep
        else:
            finish(name, keep)

    unreached = visit_all(model, fitting, method, visit)
    for name, keep in waiting.items():
        finish(name, keep)
    return unreached


def apply(model: nn.Module, layer: Weight, keep: Tensor) -> None:
    """Zero what `keep` [K, taps, C] does not hold of the layer's weight, in place."""
    weight = layer.of(model)
    with torch.no_grad():
        weight.copy_(torch.where(layer.from_matrix(keep), weight, 0.0))  # 0.0, never -0.0


def masked(scores: Tensor, pattern: ZeroPattern, sparsity: float, *, by_row: bool = False) -> Tensor:
    """Keep the highest scores [K, taps, C] in the pattern, each output's own where `by_row`. -> bool [K, taps, C]."""
    if isinstance(pattern, NM):
        return keep_n_of_m(scores, pattern.n, pattern.m)
    if isinstance(pattern, Block) and pattern.even:
        return keep_blocks_evenly(scores, pattern.rows, pattern.columns, 1 - sparsity)
    if isinstance(pattern, Block):
        blocks = scores.numel() // (pattern.rows * pattern.columns)
        return keep_blocks(scores, pattern.rows, pattern.columns, max(1, round((1 - sparsity) * blocks)))
    if by_row:
        inputs = scores[0].numel()
        kept = max(1, round((1 - sparsity) * inputs))
        return keep_n_of_m(scores.flatten(1), kept, inputs).reshape(scores.shape)
    return keep_top(scores, max(1, round((1 - sparsity) * scores.numel())))


def worth(model: nn.Module, layer: Weight, statistics: Statistics | None = None) -> Tensor:
    """Score each weight of the layer: by magnitude, or with `statistics` by activation. -> [K, taps, C]."""
    matrix = layer.as_matrix(layer.of(model).detach())
    if statistics is None:
        return magnitude(matrix)
    groups, width = statistics.norms.shape
    by_group = matrix.reshape(groups, -1, width)  # [g, K/g, D]
    return activation(by_group, statistics.norms[:, None]).reshape(matrix.shape)


def _solved(
    model: nn.Module, layer: Weight, statistics: Statistics, part: Part, effort: Solver, tell: Tell
) -> tuple[Tensor, float | None, float | None]:
    """Solve each group of the layer by itself, for each has inputs of its own, and write the weight.

    A bias takes over what the mean of the inputs gave by the weights that go, so that only what varies is solved for.
    Returns what `Done` takes beside the name.
    """
    weight, bias = layer.of(model), getattr(model.get_submodule(layer.name), "bias", None)
    matrix = layer.as_matrix(weight.detach())  # [K, taps, C]
    gram = statistics.gram if bias is None else statistics.centred_gram()
    assert gram is not None
    rows = matrix.reshape(len(gram), -1, gram.shape[1]).float()  # [g, K/g, D]
    assert not isinstance(part.pattern, (Channel, Depth))

    def said(round_: str) -> None:
        tell(f"{layer.name}, {round_}")

    solved = [
        solve(*own, part.pattern, part.share, effort=effort, taps=matrix.shape[1], tell=said)
        for own in zip(rows, gram, strict=True)
    ]
    result = torch.stack([each.weight for each in solved]).reshape(matrix.shape)
    keep = torch.stack([each.keep for each in solved]).reshape(matrix.shape)
    with torch.no_grad():
        if isinstance(bias, Tensor):
            gone = rows - result.reshape(rows.shape)  # [g, K/g, D]
            bias += (gone @ statistics.means[:, :, None]).flatten().to(bias.dtype)
        weight.copy_(layer.from_matrix(result))
    errors = [each.error for each in solved if each.error is not None]
    error = sum(errors) / len(errors) if errors else None
    raised = any(each.raised for each in solved)
    return keep, error, max(each.damping for each in solved) if raised else None


def visit_all(
    model: nn.Module, fitting: Mapping[str, Weight], method: Method, visit: Callable[..., None]
) -> dict[str, str]:
    """Visit the layers, with their inputs' statistics if the importance looks at those; return why some had none."""
    if method.importance == "magnitude":
        for name in fitting:
            visit(name)
        return {}
    if method.calibration is None:
        raise InputError(f"--importance {method.importance} looks at inputs, and there are none. Give --calib.")

    def visit_layer(name: str, _layer: nn.Module, statistics: Statistics) -> None:
        visit(name, statistics)

    seen = [name for name, layer in fitting.items() if layer.of_input]
    widths = {name: fitting[name].channels[1] for name in seen if fitting[name].order is not None}
    gram = method.importance == "second-order"
    ways = {"gram": gram, "resume": method.resume}
    unreached = layer_by_layer(model, seen, method.calibration, visit_layer, widths=widths, **ways)
    return unreached | dict.fromkeys(fitting.keys() - set(seen), UNSEEN)
