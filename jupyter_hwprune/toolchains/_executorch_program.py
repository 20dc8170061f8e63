"""Lower a torch ExportedProgram to a .pte file by XNNPACK's delegate, and tell which torch layer each kernel computes.

XNNPACK's profile names its kernels in the order in which they run, and no layer. They are built from a delegate's graph
node by node, each product in one kernel, so the products of both are matched in order; where their numbers differ, none
is given to a layer.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# operators with a weight -> its place among the arguments, and what ONNX calls them
PRODUCTS = {
    "aten.convolution.default": (1, "Conv"),
    "aten.linear.default": (1, "Gemm"),
    "aten.mm.default": (1, "Gemm"),
    "aten.addmm.default": (2, "Gemm"),
}
KERNELS = ("Convolution", "Deconvolution", "Fully Connected")  # of products with weights, as XNNPACK names them
WHOLE = {"aten.permute_copy.default", "aten.t_copy.default", "aten.view_copy.default", "aten.unsqueeze_copy.default"}
NO_WORK = {"getitem", "alloc", "executorch_call_delegate"}


class Product(NamedTuple):
    """A product with a weight: its torch layer, None if that is unknown, and its ONNX operator."""

    layer: str | None
    op: str


class Lowered(NamedTuple):
    """A .pte file: the products in each of its delegates, and those of operators that XNNPACK did not take.

    `constants` has None for each tensor among the flattened inputs, and the value of each other input in a list.
    `left` counts the operators that XNNPACK did not take, by their names.
    """

    path: str
    delegates: list[list[Product]]
    portable: dict[str, list[Product]]
    left: dict[str, int]
    constants: list[list[Any] | None]


def lower(model: str) -> Lowered:
    """Lower a program's file once for all workers that share its folder: that takes seconds, and is always the same."""
    path, facts = (os.path.splitext(model)[0] + end for end in (".pte", ".pte.json"))
    if not os.path.exists(facts) or os.path.getmtime(facts) < os.path.getmtime(model):
        found = _lowered(model, path)
        with open(facts + ".part", "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.replace(facts + ".part", facts)
    with open(facts, encoding="utf-8") as file:
        known = Lowered(*json.load(file))
    return known._replace(
        delegates=[[Product(*each) for each in delegate] for delegate in known.delegates],
        portable={name: [Product(*each) for each in own] for name, own in known.portable.items()},
    )


def _lowered(model: str, path: str) -> Lowered:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from torch.utils import _pytree as pytree

    program = load(model)
    leaves = pytree.tree_leaves(program.example_inputs)
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    own = edge.exported_program()
    calls = [node for node in own.graph.nodes if node.op == "call_function"]
    delegates = [
        list(_products(getattr(own.graph_module, node.args[0].target).original_module))
        for node in calls
        if _name(node) == "executorch_call_delegate"
    ]
    portable: dict[str, list[Product]] = {}
    for node in calls:
        if _name(node) in PRODUCTS:
            portable.setdefault(_short(node), []).append(_product(node, own))
    left = Counter(_short(node) for node in calls if _name(node) not in NO_WORK)
    with open(path, "wb") as file:
        edge.to_executorch().write_to_file(file)
    constants = [None if isinstance(each, torch.Tensor) else [each] for each in leaves]
    return Lowered(path, delegates, portable, dict(left), constants)


def load(model: str) -> Any:
    """Read a program's file, also one with quantised weights."""
    import torch
    from torch.ao.quantization.fx import _decomposed  # noqa: F401 - it registers the operators of quantised programs

    return torch.export.load(model)


def _products(program: Any) -> Iterator[Product]:
    for node in program.graph.nodes:
        if node.op == "call_function" and _name(node) in PRODUCTS:
            yield _product(node, program)


def _product(node: Any, program: Any) -> Product:
    place, op = PRODUCTS[_name(node)]
    transposed = _name(node) == "aten.convolution.default" and node.args[6]
    return Product(layer_of(node.args[place], program.graph_signature), "ConvTranspose" if transposed else op)


def layer_of(weight: Any, signature: Any) -> str | None:
    """Return the torch layer of a weight, which may be dequantised or turned around before the product reads it."""
    while weight.op == "call_function" and (_name(weight) in WHOLE or "quantize" in _name(weight)):
        weight = weight.all_input_nodes[0]
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return names[weight.name].rpartition(".")[0] if weight.name in names else None


def _name(node: Any) -> str:
    """Return an operator's name, such as aten.linear.default, as core or edge dialect."""
    target = getattr(node.target, "_op", node.target)
    return str(target) if "." in str(target) and "<" not in str(target) else getattr(target, "__name__", str(target))


def _short(node: Any) -> str:
    """Return an operator's name without its namespace and overload, as a profile begins with it."""
    parts = _name(node).split(".")
    return parts[1] if len(parts) > 1 else parts[0]
