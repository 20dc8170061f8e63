"""Export a torch model to an ONNX file whose nodes are named after its torch layers.

Every node and its output value are called `layer::Op_i`. A runtime names a fused kernel after a node or a value;
`Exported.layers_of` maps either name back to the layers.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..core.copying import copied
from ..core.errors import ExportError, first_line
from ..core.example import Example
from ..core.outputs import return_only_tensors
from ..core.quiet import quiet
from ..core.tracing import program_of
from ..pruning.layers import matrices_of, rows_of
from .cases import Case
from .decomposing import Decomposed
from .fitting import LARGE_BYTES, fitted
from .lean import weight_bytes
from .program import DTYPES, in_dtype, is_narrow
from .remembered import Key, find, find_alike, key_of, remember
from .reweighted import reweighted

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})  # one node is one layer of torch's module, in all its directions
WEIGHT_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"}) | RECURRENT
Names = tuple[dict[str, tuple[str, ...]], dict[str, str], dict[str, str], dict[int, str]]
"""The four maps of `Exported`."""
LOOKUP = "Gather"  # of rows of a weight, such as an embedding's


@dataclass(frozen=True)
class Exported(Case):
    """An ONNX file, its inputs and torch's outputs as .npz files, and the torch layer of each node."""

    layers: dict[str, tuple[str, ...]]  # node that holds weights -> their torch layers, several in a recurrent one
    upstream: dict[str, str]  # node -> the nearest node before it that holds a weight, or itself
    values: dict[str, str]  # torch module without children -> the value that is its output
    nodes: dict[int, str]  # number -> node
    outputs: dict[str, str] = field(default_factory=dict)  # a model's own name of an output -> the node that makes it

    def layers_of(self, names: list[str], op: str) -> list[str]:
        """Return the torch layers that a kernel computes, given the runtime's node names for it.

        A runtime that fuses an activation or a sum into a product may name the kernel after the last node. If `op`
        says that the kernel is a product, this takes the product before that node.
        """
        known = [node for name in names if (node := self._known(name)) is not None]
        found = [layer for node in known for layer in self.layers.get(node, ())]
        products = [node for node in known if node.rpartition("::")[2].partition("_")[0] in WEIGHT_OPS]
        if not found and not products and op in WEIGHT_OPS:  # a product of two activations belongs to no layer
            before = [self.upstream[node] for node in known if node in self.upstream][:1]
            found = [layer for node in before for layer in self.layers[node]]
        return list(dict.fromkeys(found))

    def with_layer_outputs(self, model: nn.Module, example: Example) -> tuple[Exported, list[str]]:
        """Write a second file that returns the output of every layer, to find the first wrong one.

        Returns it with the layers' names, in the order of its outputs.
        """
        import onnx

        made: dict[str, Tensor] = {}
        own = copied(model).eval()
        if is_narrow(own):
            own, example = own.float(), example.as_float32()
        for name, module in own.named_modules():
            if name in self.values:
                module.register_forward_hook(lambda _, __, output, name=name: made.update({name: output}))
        example.outputs(own)
        names = [name for name in self.values if isinstance(made.get(name), Tensor)]
        proto = onnx.load(str(self.model))
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=self.values[name]) for name in names)
        path = self.model.with_name(f"{self.model.stem}.layers.onnx")
        save(onnx.shape_inference.infer_shapes(proto), path)
        expected = path.with_suffix(".expected.npz")
        np.savez(expected, *[made[name].numpy() for name in names])
        return replace(self, model=path, expected=expected), names

    def _known(self, name: str) -> str | None:
        """Find our node by its number in a runtime's decorated name, such as `fused a::Conv_3_nchwc`.

        A name made from one of the model's outputs, such as `logits_nchwc`, has no number; that output's value has.
        """
        number = _number_in(name)
        if number < 0:
            made_from = (value for output, value in self.outputs.items() if _is_decorated(name, output))
            number = _number_in(next(made_from, name))
        return self.nodes.get(number)


def export_onnx(
    model: nn.Module, example: Example, folder: Path, name: str, dtype: str | None = None, opset: int | None = None
) -> Exported:
    """Write `name`.onnx with the example's inputs and torch's outputs beside it. Raises ExportError, OSError.

    With `dtype` both are converted to it, and the outputs are those of the float32 model. `opset` is the version of
    ONNX's operators, None for the exporter's own.
    """
    weights = {id(each): nn.Parameter(each.detach(), requires_grad=False) for each in model.parameters()}
    own = copied(model, weights).eval()
    traced, outputs = model, None
    if dtype is not None:
        own, example, outputs = in_dtype(own, example, DTYPES[dtype])
        traced = own
    program = _program_of(traced, example)
    key = None if program is None else key_of(program, model, example, (dtype, opset))
    if key is not None and (known := find(key, folder, name, Exported)) is not None:
        return known
    if outputs is None:
        outputs = example.outputs(own)
    made = None if key is None or program is None else _made_before(key, program)
    proto, names = made or _made(own, program, example, opset)
    path, inputs, expected = (folder / f"{name}{suffix}" for suffix in (".onnx", ".inputs.npz", ".expected.npz"))
    save(proto, path)
    input_names = _save_inputs(proto.graph, example, inputs, narrow=dtype is not None)
    np.savez(expected, *map(_numpy, outputs))
    case = Exported(path, inputs, expected, input_names, *names)
    if key is not None and not path.with_name(f"{path.name}.data").exists():
        remember(key, case)
    return case


def _made_before(key: Key, program: ExportedProgram) -> tuple[Any, Names] | None:
    """Return the graph of another model of this session with this one's weights, and the nodes' names."""
    known = find_alike(key, Exported)
    if known is None:
        return None
    case, before = known
    proto = reweighted(case.model, before, key, program)
    return None if proto is None else (proto, (case.layers, case.upstream, case.values, case.nodes))


def _made(own: nn.Module, program: ExportedProgram | None, example: Example, opset: int | None) -> tuple[Any, Names]:
    """Convert the model, name its nodes after its layers, and fit the graph to the runtimes."""
    return_only_tensors(own)
    args = example.args
    if args and isinstance(args[-1], dict):  # would become keyword arguments
        args = (*args, {})
    proto = _converted([own] if program is None else [program, own], args, example.kwargs, opset)
    modules = dict(own.named_modules())
    rows = {parameter: row for path, module in modules.items() for parameter, row in rows_of(path, module).items()}
    leaves = {path for path, module in modules.items() if not list(module.children())}
    values = {initializer.name: initializer for initializer in proto.graph.initializer}
    passed: Counter[str] = Counter()  # nodes of each recurrent module

    def layer_of(node: Any, weights: set[str]) -> tuple[str | None, tuple[str, ...]]:
        """Take the layer whose weight the node reads, by the weight's name; else the layer that it was traced in."""
        scope = _scope(node, leaves)
        if node.op_type in RECURRENT and scope is not None:
            passed[scope] += 1
            return scope, _recurrent_rows(modules[scope], scope, passed[scope] - 1)
        read = (value.rpartition(".") for value in node.input)
        owner = next((module for module, _, each in read if each == "weight" and module in leaves), None)
        takes = node.op_type in {*WEIGHT_OPS, LOOKUP} and not weights.isdisjoint(node.input)
        if owner is None and takes:  # a parameter in a module's own code
            owner = next((rows[value] for value in node.input if value in rows), None)
        if owner is None and takes:  # the exporter has turned it, and given it another name
            held = [values[value] for value in node.input if value in weights]
            owner = _row_of_values(own, _scope(node, {*modules}), held)
        owner = scope if owner is None else owner
        return owner, (owner,) if takes and owner is not None else ()

    names = name_nodes(proto.graph, layer_of, lambda node: _scope(node, leaves))
    if opset is None:  # a toolchain that takes an older graph rewrites it for itself
        proto = fitted(proto)
        layers, _, values, nodes = names
        names = _named_again(proto.graph, layers, values, nodes)
    return proto, names


def _recurrent_rows(module: nn.Module, path: str, number: int) -> tuple[str, ...]:
    """Return the rows of the matrices in the node of that number: a module has one a layer, whenever it is called."""
    layer = number % max(1, getattr(module, "num_layers", 1))
    return tuple(row for name, row in rows_of(path, module).items() if re.search(rf"_l{layer}(_reverse)?$", name))


def _row_of_values(model: nn.Module, path: str | None, held: list[Any]) -> str | None:
    """Return the row of the one matrix in the module's own code that has one of the values, as it is or turned.

    Where all matrices differ in shape, that tells: of one that was laid out in yet another way, the values do not.
    """
    from onnx import numpy_helper

    if path is None:
        return None
    module = model.get_submodule(path)
    own = matrices_of(module)
    shapes = {tuple(each.dims) for each in held}
    found = [name for name, weight in own.items() if {tuple(weight.shape), tuple(weight.shape)[::-1]} & shapes]
    if len(found) > 1:
        values = [numpy_helper.to_array(each) for each in held]
        found = [name for name in found if any(_is_turned(_numpy(own[name]), value) for value in values)]
    return rows_of(path, module)[f"{path}.{found[0]}".lstrip(".")] if len(found) == 1 else None


def _is_turned(weight: np.ndarray, value: np.ndarray) -> bool:
    return np.array_equal(weight, value) or np.array_equal(weight.T, value)


def _program_of(model: nn.Module, example: Example) -> ExportedProgram | None:
    """Trace the model, or find its trace; None where torch.onnx's own ways to trace are left to try."""
    try:
        return program_of(model, example)
    except Exception:  # noqa: BLE001 - it stumbles in many ways, and each means the same
        return None


def _converted(
    sources: list[ExportedProgram | nn.Module], args: tuple[Any, ...], kwargs: dict[str, Any], opset: int | None
) -> Any:
    """Convert the first source that torch can: a trace with gradients has strides that some views refuse."""
    for place, source in enumerate(sources, 1):
        try:
            with quiet():
                ready = Decomposed.of(source) if isinstance(source, ExportedProgram) else source
                done = torch.onnx.export(
                    ready, args, kwargs=kwargs or None, opset_version=opset, dynamo=True, verbose=False, optimize=True
                )
        except Exception as error:
            if place == len(sources):
                raise ExportError(
                    f"torch cannot export this model to ONNX: {_cause(error)}. Rewrite that part of its forward so "
                    "that torch.export takes it (no branches on tensor values, no numpy inside)."
                ) from error
        else:
            break
    assert done is not None
    return done.model_proto


def _cause(error: BaseException) -> str:
    """Return the innermost cause of torch's nested export errors, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def name_nodes(
    graph: Any,
    layer_of: Callable[[Any, set[str]], tuple[str | None, tuple[str, ...]]],
    scope_of: Callable[[Any], str | None],
) -> Names:
    """Rename nodes and the values they make, in place; return the four maps of `Exported`.

    `layer_of` takes a node and the names of all weights; it returns the layer to name the node after, and the layers
    whose weights it takes. `scope_of` returns the layer whose output the node makes.
    """
    layers: dict[str, tuple[str, ...]] = {}
    upstream: dict[str, str] = {}
    values: dict[str, str] = {}
    renamed: dict[str, str] = {}
    order: dict[str, int] = {}
    weights = {initializer.name for initializer in graph.initializer if len(initializer.dims) >= 2}
    for index, node in enumerate(graph.node):
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise ExportError(
                f"The exported model holds control flow ({node.op_type}), so its layers cannot be told apart."
            )
        scope = scope_of(node)
        owner, taken = layer_of(node, weights)
        node.name = f"{owner or ''}::{node.op_type}_{index}"
        order[node.name] = index
        before = [upstream[made] for value in node.input if (made := renamed.get(value)) in upstream]
        if taken:
            layers[node.name] = taken
        if node.name in layers and node.op_type != LOOKUP:
            upstream[node.name] = node.name
        elif before:
            upstream[node.name] = max(before, key=order.__getitem__)
        node.input[:] = [renamed.get(value, value) for value in node.input]
        for position, value in enumerate(node.output):
            renamed[value] = f"{node.name}.{position}" if position else node.name
        node.output[:] = [renamed[value] if value else "" for value in node.output]
        if scope is not None:
            values[scope] = node.output[0]
    for value in (*graph.output, *graph.value_info):
        value.name = renamed.get(value.name, value.name)
    return layers, upstream, values, {number: name for name, number in order.items()}


def _named_again(
    graph: Any, layers: dict[str, tuple[str, ...]], values: dict[str, str], nodes: dict[int, str]
) -> Names:
    """Name the nodes of a graph that was changed since `name_nodes`, whose maps these are; return the new maps."""
    scopes = {value: scope for scope, value in values.items()}

    def layer_of(node: Any, weights: set[str]) -> tuple[str | None, tuple[str, ...]]:
        came_from = nodes.get(_number_in(node.name), "")
        owner = came_from.rpartition("::")[0] or None
        taken = layers.get(came_from, () if owner is None else (owner,))
        if len(taken) == 1:
            owner = taken[0]  # a model that is one layer is called ""
        takes = node.op_type in {*WEIGHT_OPS, LOOKUP} and not weights.isdisjoint(node.input)
        return owner, taken if takes else ()

    return name_nodes(graph, layer_of, lambda node: scopes.get(node.output[0]))


def _number_in(name: str) -> int:
    """Return the number that `name_nodes` gave a node, read from a name that begins or decorates it; -1 without one."""
    match = re.search(r"::[A-Za-z]+_(\d+)", name)
    return int(match[1]) if match else -1


def _is_decorated(name: str, output: str) -> bool:
    """Say whether a runtime's name holds that of an output, with something before it or behind it perhaps."""
    return re.search(rf"(?<![\w.]){re.escape(output)}(?![A-Za-z0-9.])", name) is not None


def _scope(node: Any, leaves: set[str]) -> str | None:
    """Return the innermost torch layer that the exporter recorded for the node."""
    recorded = next((each.value for each in node.metadata_props if each.key == "pkg.torch.onnx.name_scopes"), "()")
    return max((scope for scope in ast.literal_eval(recorded) if scope in leaves), key=len, default=None)


def save(proto: Any, path: Path) -> None:
    import onnx

    path.unlink(missing_ok=True)  # it may be a remembered file
    large = weight_bytes(proto.graph) > LARGE_BYTES
    onnx.save(proto, str(path), save_as_external_data=large, location=f"{path.name}.data" if large else None)


def _save_inputs(graph: Any, example: Example, path: Path, *, narrow: bool) -> tuple[str, ...]:
    names = tuple(value.name for value in graph.input)
    tensors = example.tensors
    if len(names) != len(tensors):
        raise ExportError(
            f"The exported model has {len(names)} inputs, but the example has {len(tensors)} tensors: the exporter "
            "dropped an unused input. Give only the inputs that the model uses."
        )
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors) and not narrow:
        raise ExportError(
            "The example is bfloat16, which the CPU runtimes do not take. Use model.float() and x.float()."
        )
    np.savez(path, *map(_numpy, tensors))  # the runtime knows the types of its inputs
    return names


def _numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor's values; bfloat16, which numpy lacks, as float32, which holds the same values."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
