"""Rewrite an ONNX file into the operators that DeepSparse has kernels for.

DeepSparse has kernels for older operators only: layer normalisation as separate sums and products, GELU by the error
function with its factors in one order, a mean with its axes as an attribute. Everything else runs in an embedded ONNX
Runtime, with a change of layout around each layer. Names of nodes are kept, so that kernels map to layers.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
OLDER_OPSET = 17  # axes of a reduction are an attribute up to here
LARGE_BYTES = 1 << 30


def prepared(model: str, folder: str) -> str:
    """Write the file for DeepSparse to `folder`, unless it exists; return its path."""
    path = os.path.join(folder, os.path.basename(model).replace(".onnx", ".deepsparse.onnx"))
    if os.path.exists(path):
        return path
    import onnx

    proto = onnx.load(model)
    graph = proto.graph
    constants = {each.name: each for each in graph.initializer}
    reductions = _reductions_with_attributes(graph, constants) if _can_be_older(proto) else False
    nodes = []
    for node in graph.node:
        nodes += _plain_norm(node, graph) if node.op_type == "LayerNormalization" else [node]
    _reorder_gelu(nodes, constants)
    del graph.node[:]
    graph.node.extend(nodes)
    if reductions:
        proto.opset_import[0].version = OLDER_OPSET
    proto.ir_version = min(proto.ir_version, 8)
    large = proto.ByteSize() > LARGE_BYTES
    onnx.save(proto, path, save_as_external_data=large, location=os.path.basename(path) + ".data" if large else None)
    return path


def layers_of_weights(model: str) -> dict[str, bool]:
    """Return the nodes that multiply by a weight, by name; True for convolutions wider than one pixel."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    wide = {each.name: any(side > 1 for side in each.dims[2:]) for each in graph.initializer if len(each.dims) >= 2}
    found = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in wide:
            wide[node.output[0]] = wide[node.input[0]]
        elif node.op_type in PRODUCTS:
            weights = [value for value in node.input if value in wide]
            found.update({node.name: wide[weights[0]]} if weights else {})
    return found


def makers(path: str) -> dict[str, str]:
    """Return the node that makes each output of the model, by whose name the engine calls what computes it."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    outputs = {value.name for value in graph.output}
    return {value: node.name for node in graph.node for value in node.output if value in outputs}


def _can_be_older(proto: Any) -> bool:
    """Say whether every operator except reductions and Split means the same in the older operator set."""
    import onnx

    now = proto.opset_import[0].version
    if len(proto.opset_import) != 1 or now <= OLDER_OPSET:
        return False
    schema = onnx.defs.get_schema
    ops = {node.op_type for node in proto.graph.node if not node.op_type.startswith("Reduce")} - {"Split"}
    return all(schema(op, now, "").since_version == schema(op, OLDER_OPSET, "").since_version for op in ops)


def _reductions_with_attributes(graph: Any, constants: dict[str, Any]) -> bool:
    """Move the axes of reductions from an input to an attribute, in place; return False if one is not constant."""
    from onnx import helper, numpy_helper

    reductions = [node for node in graph.node if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum"]
    if any(len(node.input) > 1 and node.input[1] and node.input[1] not in constants for node in reductions):
        return False
    for node in reductions:
        _drop_attribute(node, "noop_with_empty_axes")
        if len(node.input) > 1 and node.input[1]:
            axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
            node.attribute.append(helper.make_attribute("axes", axes))
        del node.input[1:]
    for node in graph.node:
        if node.op_type == "Split":  # without sizes, the older operator splits evenly too
            _drop_attribute(node, "num_outputs")
    return True


def _drop_attribute(node: Any, name: str) -> None:
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _plain_norm(node: Any, graph: Any) -> list[Any]:
    """Write (x - mean) / sqrt(variance + epsilon) * scale + bias as nodes; leave one with further outputs whole."""
    import numpy as np
    from onnx import helper, numpy_helper

    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    axis = settings.get("axis", -1)
    if axis != -1 or len([each for each in node.output if each]) > 1 or len(node.input) < 2:
        return [node]
    name, x, y = node.name, node.input[0], node.output[0]
    two, epsilon = name + ".two", name + ".epsilon"
    for constant, value in ((two, 2.0), (epsilon, settings.get("epsilon", 1e-5))):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), constant))
    last = (name + ".scaled") if len(node.input) > 2 and node.input[2] else y
    steps = [
        ("ReduceMean", [x], ".mean", {"axes": [-1], "keepdims": 1}),
        ("Sub", [x, name + ".mean"], ".centred", {}),
        ("Pow", [name + ".centred", two], ".square", {}),
        ("ReduceMean", [name + ".square"], ".variance", {"axes": [-1], "keepdims": 1}),
        ("Add", [name + ".variance", epsilon], ".above", {}),
        ("Sqrt", [name + ".above"], ".deviation", {}),
        ("Div", [name + ".centred", name + ".deviation"], ".normal", {}),
    ]  # type: list[tuple[str, list[str], str, dict[str, Any]]]
    made = [
        helper.make_node(op, inputs, [name + value], name=name + value, **attributes)
        for op, inputs, value, attributes in steps
    ]
    made.append(helper.make_node("Mul", [name + ".normal", node.input[1]], [last], name=name + ".times"))
    if last != y:
        made.append(helper.make_node("Add", [last, node.input[2]], [y], name=name + ".plus"))
    return made


def _reorder_gelu(nodes: list[Any], constants: dict[str, Any]) -> None:
    """Turn x * (0.5 * (1 + erf)) into (x * (1 + erf)) * 0.5, in place: GELU is recognised in this order only."""
    maker = {value: node for node in nodes for value in node.output}
    readers = Counter(value for node in nodes for value in node.input)
    for node in nodes:
        if node.op_type != "Mul":
            continue
        for mine, other in ((0, 1), (1, 0)):
            half = maker.get(node.input[mine])
            if half is None or half.op_type != "Mul" or readers[half.output[0]] > 1:
                continue
            factors = [value for value in half.input if value in constants and not constants[value].dims]
            sums = [value for value in half.input if value not in constants]
            if len(factors) != 1 or len(sums) != 1 or not _adds_to_erf(maker.get(sums[0]), maker):
                continue
            half.input[:] = [node.input[other], sums[0]]
            node.input[:] = [half.output[0], factors[0]]
            break


def _adds_to_erf(node: Any, maker: dict[str, Any]) -> bool:
    made = [maker.get(value) for value in node.input] if node is not None and node.op_type == "Add" else []
    return any(each is not None and each.op_type == "Erf" for each in made)
