"""The graph of one run of a model, in ATen operators that are each exact, with every tensor's name."""

import contextlib
import copy
import io
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ...core.errors import PruneError, first_line
from ...core.example import Example, tensors_of
from ...core.quiet import quiet


@dataclass(frozen=True)
class Trace:
    graph: GraphModule
    names: dict[str, str]  # placeholder -> the parameter or buffer that it stands for
    constants: dict[str, Tensor]  # placeholder -> a tensor made in the model's code
    inputs: tuple[str, ...]  # placeholders of what the example holds, in order
    only_tensors: bool = False  # and of nothing else in it


def tensors_of_model(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, tied ones under each of their names."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return dict(named)


def trace(model: nn.Module, example: Example) -> Trace:
    """Record the graph of a copy of `model`; raises PruneError with what stood in the way.

    torch.export comes first. Where a branch on a tensor's value stops it, the run of this very example is recorded.
    """
    shared = {id(parameter): parameter for parameter in model.parameters()}  # which no run changes
    own = copy.deepcopy(model, shared).eval()
    said = io.StringIO()  # where export stops, it prints the graph so far
    with _plain_attention(), quiet(), contextlib.redirect_stderr(said), torch.no_grad():
        try:
            return _exported(own, example)
        except Exception as error:  # noqa: BLE001 - it stumbles in many ways, and each means the same
            stumbled = error
        try:
            return _recorded(own, example)
        except Exception as error:  # noqa: BLE001 - as above
            raise PruneError(
                "torch.export cannot read this model's graph, in which channels are followed "
                f"({first_line(stumbled)}), nor can one run of it be recorded ({first_line(error)}). Make its forward "
                "free of what they name, or use a pattern that keeps the shapes, such as --pattern unstructured."
            ) from stumbled


def _exported(own: nn.Module, example: Example) -> Trace:
    program = torch.export.export(own, example.args, example.kwargs, strict=False)
    names, constants, inputs = {}, {}, []
    for spec in program.graph_signature.input_specs:
        placeholder = getattr(spec.arg, "name", "")
        if spec.kind in {InputKind.PARAMETER, InputKind.BUFFER} and spec.target:
            names[placeholder] = spec.target
        elif spec.kind is InputKind.CONSTANT_TENSOR and spec.target:
            constants[placeholder] = program.constants[spec.target]
        else:
            inputs.append(placeholder)
    return Trace(program.graph_module, names, constants, tuple(inputs))


def _recorded(own: nn.Module, example: Example) -> Trace:
    tensors = dict(own.named_parameters()) | dict(own.named_buffers())
    leaves, structure = pytree.tree_flatten((example.args, example.kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def run(own_tensors: dict[str, Tensor], given: list[Tensor]) -> list[Tensor]:
        filled = dict(zip(places, given, strict=True))
        args, kwargs = pytree.tree_unflatten([filled.get(i, leaf) for i, leaf in enumerate(leaves)], structure)
        return tensors_of(torch.func.functional_call(own, own_tensors, args, kwargs))

    record = make_fx(run, tracing_mode="real", pre_dispatch=True, _error_on_data_dependent_ops=False)
    graph = record(tensors, [leaves[i] for i in places])
    placeholders = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
    names = dict(zip(placeholders, tensors, strict=False))
    return Trace(graph, names, {}, tuple(placeholders[len(tensors) :]), only_tensors=True)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Have torch's own attention and encoder layers run their written-out path, not one opaque operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
