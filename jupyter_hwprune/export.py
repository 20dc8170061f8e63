"""From a torch model to an ONNX file whose nodes are named after the torch layers they came from.

Every node, and the value it makes, is called `layer::Op_i`; so whatever a runtime calls a fused kernel, after the node
or after the value, `Exported.layer_of` finds the way back.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .errors import ExportError, first_line
from .example import Example

WEIGHT_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Exported:
    """An ONNX file, its inputs and torch's outputs for them as .npz files, and the torch layer behind each name."""

    model: Path
    inputs: Path
    expected: Path
    layers: dict[str, str]  # node name -> torch layer
    upstream: dict[str, str]  # node name -> the nearest node before it that holds a weight

    def layer_of(self, names: list[str], op: str | None) -> str | None:
        """Return the torch layer of a kernel, from the node names that the runtime gives for it.

        A runtime that fuses an activation or a sum into a product may name the kernel after the last node of the
        fusion; `op` tells that the kernel is a product, so the product before that node is meant.
        """
        known = [node for name in names if (node := self._known(name)) is not None]
        for node in known:
            if node in self.layers:
                return self.layers[node]
        if op in WEIGHT_OPS:
            for node in known:
                if node in self.upstream:
                    return self.layers[self.upstream[node]]
        return None

    def _known(self, name: str) -> str | None:
        """Cut off what a runtime appends to a name (`layer::Conv_3_nchwc` is `layer::Conv_3`)."""
        while name and name not in self.upstream and name not in self.layers:
            name = name[: max(name.rfind("_"), name.rfind("/"), 0)]
        return name or None


def export_onnx(model: nn.Module, example: Example, folder: Path, name: str) -> Exported:
    """Write `name`.onnx with the example's inputs and torch's outputs beside it. Raises ExportError, OSError."""
    own = copy.deepcopy(model).eval()
    for parameter in own.parameters():
        parameter.requires_grad_(requires_grad=False)
    try:
        with _quiet():
            program = torch.onnx.export(
                own, example.args, kwargs=example.kwargs or None, dynamo=True, verbose=False, optimize=True
            )
    except Exception as error:
        raise ExportError(
            f"torch cannot export this model to ONNX: {_cause(error)}. Rewrite that part of its forward so that "
            "torch.export takes it (no branches on tensor values, no numpy inside)."
        ) from error
    assert program is not None
    proto = program.model_proto
    layers, upstream = _name_nodes(proto.graph, {module_name for module_name, _ in own.named_modules()})
    path, inputs, expected = (folder / f"{name}{suffix}" for suffix in (".onnx", ".inputs.npz", ".expected.npz"))
    _save(proto, path)
    _save_inputs(proto.graph, example, inputs)
    outputs = example.outputs(own)
    np.savez(expected, *[t.float().numpy() if t.dtype == torch.bfloat16 else t.numpy() for t in outputs])
    return Exported(path, inputs, expected, layers, upstream)


def _cause(error: BaseException) -> str:
    """Find the innermost reason in torch's nested export errors, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _name_nodes(graph: Any, modules: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Rename nodes and their values in place; return the layer of each weight node, and each node's weight upstream."""
    layers: dict[str, str] = {}
    upstream: dict[str, str] = {}
    renamed: dict[str, str] = {}
    maker: dict[str, str] = {}  # value -> node
    order: dict[str, int] = {}
    weights = {initializer.name for initializer in graph.initializer if len(initializer.dims) >= 2}
    for index, node in enumerate(graph.node):
        owner = _owner(node, modules)
        node.name = f"{owner}::{node.op_type}_{index}"
        order[node.name] = index
        node.input[:] = [renamed.get(value, value) for value in node.input]
        if owner and node.op_type in WEIGHT_OPS and any(value in weights for value in node.input):
            layers[node.name] = owner
            upstream[node.name] = node.name
        else:
            before = [upstream[maker[v]] for v in node.input if maker.get(v) in upstream]
            if before:
                upstream[node.name] = max(before, key=order.__getitem__)
        for position, value in enumerate(node.output):
            if value:
                renamed[value] = node.name if position == 0 else f"{node.name}.{position}"
        node.output[:] = [renamed.get(value, value) for value in node.output]
        maker |= dict.fromkeys(node.output, node.name)
    for value in (*graph.output, *graph.value_info):
        value.name = renamed.get(value.name, value.name)
    return layers, upstream


def _owner(node: Any, modules: set[str]) -> str:
    """Return the torch module a node came from: the one whose weight it reads, else the innermost one of its scope."""
    for value in node.input:
        module, _, own = value.rpartition(".")
        if own == "weight" and module in modules:
            return str(module)
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = [scope for scope in ast.literal_eval(entry.value) if scope in modules]
            return max(scopes, key=len, default="")
    return ""


def _save(proto: Any, path: Path) -> None:
    import onnx

    large = proto.ByteSize() > 1 << 30  # protobuf itself stops at 2 GiB
    onnx.save(proto, str(path), save_as_external_data=large, location=f"{path.name}.data" if large else None)


def _save_inputs(graph: Any, example: Example, path: Path) -> None:
    names = [value.name for value in graph.input]
    tensors = example.tensors
    if len(names) != len(tensors):
        raise ExportError(
            f"The exported model has {len(names)} inputs and the example {len(tensors)} tensors: an input that the "
            "model does not use was dropped. Give an example of the inputs that it does use."
        )
    np.savez(path, **{name: tensor.detach().numpy() for name, tensor in zip(names, tensors, strict=True)})


def layer_outputs(exported: Exported, model: nn.Module, example: Example) -> Exported:
    """Write a second model that also returns the output of every weight layer, to find where a runtime goes astray."""
    import onnx

    made: dict[str, Tensor] = {}
    own = copy.deepcopy(model).eval()
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: made.setdefault(name, output))
        for name, module in own.named_modules()
        if name in exported.layers.values()
    ]
    example.outputs(own)
    for hook in hooks:
        hook.remove()
    proto = onnx.load(str(exported.model))
    del proto.graph.output[:]
    expected = {}
    for node, layer in exported.layers.items():
        value = _layer_value(proto.graph, node, made[layer])
        if value is not None:
            proto.graph.output.append(onnx.ValueInfoProto(name=value))
            expected[layer] = made[layer].detach().numpy()
    path = exported.model.with_suffix(".layers.onnx")
    _save(proto, path)
    outputs = path.with_suffix(".npz")
    np.savez(outputs, **expected)
    return Exported(path, exported.inputs, outputs, exported.layers, exported.upstream)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's log lines, prints and deprecation remarks about itself out of the user's notebook."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
