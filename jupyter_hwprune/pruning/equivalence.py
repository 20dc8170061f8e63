"""Check that the smaller model equals the dense one with channels masked out, which is the reference.

The reference is the graph that the channels were read from, run node by node with zeros for the weights of removed
channels. Only a normalisation over channels treats zeros differently from missing channels: its mean counts them.
There, the reference normalises over the channels that are left.

Both use random weights for the check. The model's own weights may hide a fault: a branch that ends in zeros, a common
initialisation, hides anything before it.
"""

import math
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Interpreter
from torch.fx.node import Target
from torch.utils import _pytree as pytree

from ..core.copying import copied
from ..core.errors import first_line
from ..core.example import Example
from ..core.outputs import tensors_of
from .graph import Coupled
from .graph.attributes import alive_labels
from .graph.cut import kept_along
from .graph.trace import tensors_of_model

TOLERANCE = 1e-4  # float32 sums in another order stay far below; a misaligned channel is far above
Along = Mapping[str, Mapping[int, Tensor]]  # tensor: {dim: bool [n]}
LONGER = 4  # a sequence of one token cannot tell one attention head from another


@dataclass(frozen=True)
class Fault:
    """What is wrong with a smaller model, and the path of the module in which its run stopped, "" where none did."""

    said: str
    module: str = ""


class Reference:
    """The dense model with random weights, to hold smaller models against; the weights are drawn once."""

    def __init__(self, dense: nn.Module, coupled: Coupled, example: Example) -> None:
        self.coupled, self.example = coupled, example.as_float32()
        self.weights = draw_weights(dense)

    def first_equal(self, models: Iterable[nn.Module], keep: Mapping[str, Tensor]) -> nn.Module | Fault:
        """Return the first model that equals the dense one without some units, or what is wrong with the first one."""
        along, expected = kept_along(self.coupled, keep), None
        fault: Fault | None = None
        weights = dict(self.weights)
        for name, cuts in along.items():
            for dim, kept in cuts.items():
                weights[name] = weights[name].index_select(dim, kept.nonzero().flatten())
        for model in models:
            trial = _with_weights(model, weights)
            try:
                outputs = self.example.outputs(trial)
            except Exception as error:  # noqa: BLE001 - whatever the user's forward raises, it means the same
                said = f"the smaller model does not run ({first_line(error)})"
                fault = fault or Fault(said, _where(error, trial))
                continue
            expected = expected or self._expected(keep, along)
            if [t.shape for t in outputs] != [t.shape for t in expected]:
                fault = fault or Fault("the model's output changes its shape")
            elif (difference := relative_difference(outputs, expected)) > TOLERANCE:
                fault = fault or Fault(f"its output is off by {difference:.1e} of its largest value")
            else:
                return model
        assert fault is not None
        return fault

    def _expected(self, keep: Mapping[str, Tensor], along: Along) -> list[Tensor]:
        trace = self.coupled.analysis.trace
        own = self.example.fresh()  # the graph may write to its inputs
        leaves = pytree.tree_leaves((own.args, own.kwargs))
        held = [leaf for leaf in leaves if not trace.only_tensors or isinstance(leaf, Tensor)]
        given = trace.constants | dict(zip(trace.inputs, held, strict=True))
        for place, name in trace.names.items():
            given[place] = self.weights[name].clone()
            for dim, kept in along.get(name, {}).items():
                given[place].index_fill_(dim, (~kept).nonzero().flatten(), 0)
        placeholders = [node.name for node in trace.graph.graph.nodes if node.op == "placeholder"]
        with torch.no_grad():
            return tensors_of(MaskedDense(self.coupled, keep).run(*(given[name] for name in placeholders)))


def _where(error: BaseException, model: nn.Module) -> str:
    """Return the path of the innermost module whose code an error came through."""
    paths = {id(module): path for path, module in model.named_modules()}
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    found = [paths[id(own)] for frame in frames if id(own := frame.f_locals.get("self")) in paths]
    return found[-1] if found else ""


def _with_weights(small: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy with these parameters, which no run changes, and copies of these buffers."""
    memo: dict[int, Tensor] = {}
    for name, tensor in tensors_of_model(small).items():
        if id(tensor) not in memo:
            own = weights[name]
            memo[id(tensor)] = nn.Parameter(own, False) if isinstance(tensor, nn.Parameter) else own.clone()
    return copied(small, memo).eval()


class MaskedDense(Interpreter):
    """Runs the dense graph; what counts channels counts those that are left, and gives zeros for the others."""

    def __init__(self, coupled: Coupled, keep: Mapping[str, Tensor]) -> None:
        super().__init__(coupled.analysis.trace.graph)
        self.alive, self.labels = alive_labels(coupled, keep), coupled.analysis.labels

    def run_node(self, n: torch.fx.Node) -> Any:
        value = self.labels.over_kept.get(n.name)
        if value is None:
            return super().run_node(n)
        kept = {}  # axis -> positions that are left
        for each in value.factors:
            factor = self.labels.simplified(each)
            alive = self.alive[self.labels.roots(factor.labels.ravel())]
            if len(factor.axes) == 1 and not alive.all():
                kept[factor.axes[0]] = torch.from_numpy(alive.nonzero()[0])
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return _over_kept(n.target, args, kwargs, kept)

    def call_function(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = super().call_function(target, args, kwargs)
        if "_weight_norm" in str(target):  # a masked row divides 0 by a norm of 0
            return pytree.tree_map_only(Tensor, torch.nan_to_num, result)
        return result


def _over_kept(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], kept: dict[int, Tensor]) -> Any:
    x, *rest = args
    name, rank = target.__name__.partition(".")[0], x.ndim
    if name in {"layer_norm", "rms_norm", "group_norm"}:
        first = 1 if name == "group_norm" else rank - len(rest[0])  # the axis of x that is the first of its weight
        inner = {axis: index for axis, index in kept.items() if axis >= first}
        of_weight = {axis - first: index for axis, index in inner.items()}
        own = [_selected(v, of_weight) if isinstance(v, Tensor) else v for v in rest]
        small = _selected(x, inner)
        if name != "group_norm":
            own[0] = list(small.shape[first:])
        return _scattered(target(small, *own, **kwargs), x, inner)
    dims = {d % rank for d in ([rest[0]] if isinstance(rest[0], int) else rest[0])}
    return target(_selected(x, {axis: index for axis, index in kept.items() if axis in dims}), *rest, **kwargs)


def _selected(x: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    for axis, index in kept.items():
        x = x.index_select(axis, index)
    return x


def _scattered(y: Tensor, x: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    for axis, index in kept.items():
        shape = list(y.shape)
        shape[axis] = x.shape[axis]
        y = torch.zeros(shape).index_copy(axis, index, y)
    return y


def draw_weights(dense: nn.Module) -> dict[str, Tensor]:
    """Give each tensor random values of a size that carries activations through; tables of the code's own stay."""
    generator = torch.Generator().manual_seed(0)
    drawn: dict[int, Tensor] = {}
    weights = {}
    for name, tensor in tensors_of_model(dense).items():
        if id(tensor) not in drawn:
            learnt = isinstance(tensor, nn.Parameter) or name.endswith(("running_mean", "running_var"))
            floating = tensor.is_floating_point()
            own = _draw(name, tensor, generator) if learnt and floating else tensor.detach().clone()
            drawn[id(tensor)] = own.float() if floating else own
        weights[name] = drawn[id(tensor)]
    return weights


def _draw(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    if tensor.ndim >= 2:
        spread = math.sqrt(2 * tensor.shape[0] / max(1, tensor.numel()))
        return torch.empty(tensor.shape).normal_(0, spread, generator=generator)
    if name.endswith(("bias", "running_mean")):
        return torch.randn(tensor.shape, generator=generator) * 0.3
    return torch.rand(tensor.shape, generator=generator) + 0.5


def longer_where_short(dense: nn.Module, example: Example) -> Example:
    """Return the example with more tokens than its one, where it has one and the model takes more."""
    longer = example.lengthened(LONGER)
    if longer is None:
        return example
    try:
        longer.outputs(copied(dense).eval())
    except Exception:  # noqa: BLE001 - the second axis was no sequence after all, or its length is fixed
        return example
    return longer


def relative_difference(actual: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference of any output, relative to that output's largest magnitude; NaN counts as inf."""
    worst = 0.0
    for a, e in zip(actual, expected, strict=True):
        if not e.numel():
            continue
        scale = e.float().abs().max().clamp_min(torch.finfo(torch.float32).tiny)
        difference = float((a.float() - e.float()).abs().max() / scale)
        worst = max(worst, float("inf") if math.isnan(difference) else difference)
    return worst
