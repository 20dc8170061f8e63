"""The graph of one run of a model, in ATen operators that are each exact, with every tensor's name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ...core.copying import copied
from ...core.errors import PruneError, first_line
from ...core.example import Example
from ...core.outputs import tensors_of
from ...core.quiet import quiet
from ...core.tracing import plain_attention, program_of
from .outputs import output_names


@dataclass(frozen=True)
class GraphTrace:
    graph: GraphModule
    names: dict[str, str]  # placeholder -> the parameter or buffer that it stands for
    constants: dict[str, Any]  # placeholder -> a tensor made in the model's code, or a script object
    inputs: tuple[str, ...]  # placeholders of what the example holds, in order
    only_tensors: bool = False  # and of nothing else in it
    outputs: Mapping[str, str] = field(default_factory=dict)  # node -> what the output is called that it makes


def tensors_of_model(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, tied ones under each of their names."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return dict(named)


def trace(model: nn.Module, example: Example) -> GraphTrace:
    """Record the graph of a copy of `model`; raises PruneError with what stood in the way.

    torch.export comes first. Where a branch on a tensor's value stops it, the run of this very example is recorded.
    """
    shared = {id(parameter): parameter for parameter in model.parameters()}  # which no run changes
    own = copied(model, shared).eval()
    with plain_attention(), quiet(), torch.no_grad():
        called: list[str] = []
        try:
            called = output_names(example.through(own))
            return _finished(_exported(program_of(model, example)), called)
        except Exception as error:  # noqa: BLE001 - it stumbles in many ways, and each means the same
            stumbled = error
        try:
            return _finished(_recorded(own, example), called)
        except Exception as error:  # noqa: BLE001 - as above
            raise PruneError(
                "torch.export cannot read this model's graph, in which channels are followed "
                f"({first_line(stumbled)}), nor can one run of it be recorded ({first_line(error)}). Make its forward "
                "free of what they name, or use a pattern that keeps the shapes, such as --pattern unstructured."
            ) from stumbled


def _finished(found: GraphTrace, called: Sequence[str]) -> GraphTrace:
    """Name the outputs, and leave out what none needs, such as a slice taken for its shape, which ties channels."""
    found.graph.graph.eliminate_dead_code()
    found.graph.recompile()
    *_, last = found.graph.graph.nodes
    made = [leaf for leaf in pytree.tree_leaves(last.args) if isinstance(leaf, Node)]
    own_outputs = made[len(made) - len(called) :]  # buffers that change come first
    pairs = reversed([*zip(own_outputs, called, strict=False)])  # the first name of a tensor that has two
    return replace(found, outputs={node.name: name for node, name in pairs})


def _exported(program: ExportedProgram) -> GraphTrace:
    names, constants, inputs = {}, {}, []
    for spec in program.graph_signature.input_specs:
        placeholder = getattr(spec.arg, "name", "")
        if spec.kind in {InputKind.PARAMETER, InputKind.BUFFER} and spec.target:
            names[placeholder] = spec.target
        elif spec.kind in {InputKind.CONSTANT_TENSOR, InputKind.CUSTOM_OBJ} and spec.target:
            constants[placeholder] = program.constants[spec.target]
        else:
            inputs.append(placeholder)
    return GraphTrace(program.graph_module, names, constants, tuple(inputs))


def _recorded(own: nn.Module, example: Example) -> GraphTrace:
    tensors = dict(own.named_parameters()) | dict(own.named_buffers())
    own_example = example.fresh()  # the run is a real one, and may write to its inputs
    leaves, structure = pytree.tree_flatten((own_example.args, own_example.kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def run(own_tensors: dict[str, Tensor], given: list[Tensor]) -> list[Tensor]:
        filled = dict(zip(places, given, strict=True))
        args, kwargs = pytree.tree_unflatten([filled.get(i, leaf) for i, leaf in enumerate(leaves)], structure)
        return tensors_of(torch.func.functional_call(own, own_tensors, args, kwargs))

    record = make_fx(run, tracing_mode="real", pre_dispatch=True, _error_on_data_dependent_ops=False)
    graph = record(tensors, [leaves[i] for i in places])
    placeholders = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
    names = dict(zip(placeholders, tensors, strict=False))
    return GraphTrace(graph, names, {}, tuple(placeholders[len(tensors) :]), only_tensors=True)
