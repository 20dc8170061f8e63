"""Make torch's ONNX graph one that the runtimes compute at their best; it stays standard ONNX and the same function.

onnxslim folds constants and drops what does nothing. Around it stands what no such library does: plain transpositions
and no needless guards in attention, RMSNorm in the words that runtimes look for, and padding along a line.
`benchmarks/results/export.md` compares the files with those of other exporters.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..core.quiet import quiet
from .lean import folded_none, put_values, take_values, weight_bytes, with_weights_as_inputs

LARGE_BYTES = 1 << 30  # protobuf itself stops at twice that
LEFT_TO_THE_RUNTIME = ["FusionGemm", "FusionGemmMul", "FusionGemmAdd"]  # they would hide the output of a Linear
LEAST_SHARE = 1 / 2  # of the taps that read no padding: inside the convolution the others cost nothing


def fitted(proto: Any) -> Any:
    """Return the graph simplified, with its inputs and outputs; what onnxslim cannot take stays as it is.

    Names of nodes are kept, or begin those of the nodes that stand in their place; values that are left keep theirs.
    """
    transpose_plainly(proto.graph)
    proto = _slim(proto)
    drop_guards(proto.graph)
    divide_by_roots(proto.graph)
    keep_padding_apart(proto.graph)
    return proto


def _slim(proto: Any) -> Any:
    """Simplify the graph without the values of its large weights, or with all of them where that does not do."""
    values = take_values(proto.graph)
    made = _slimmed(proto)
    if made is None or not folded_none(made.graph):
        put_values(proto.graph, values)
        made = _slimmed(proto) if values else None
        return proto if made is None else made
    put_values(made.graph, values)
    return made


def _slimmed(proto: Any) -> Any | None:
    import onnx
    import onnxslim

    if weight_bytes(proto.graph) > LARGE_BYTES:  # it infers shapes of the model as one message
        return None
    own = onnx.ModelProto()
    own.CopyFrom(proto)
    try:
        with quiet():
            made = onnxslim.slim(own, skip_fusion_patterns=LEFT_TO_THE_RUNTIME)
            onnx.checker.check_model(with_weights_as_inputs(made), full_check=True)
    except Exception:  # noqa: BLE001 - the graph as torch wrote it is right, only slower
        return None
    same = all(
        [each.name for each in getattr(made.graph, side)] == [each.name for each in getattr(proto.graph, side)]
        for side in ("input", "output")
    )
    return made if same else None


def transpose_plainly(graph: Any) -> None:
    """Let the last two axes change places after a reshape rather than before it, in place.

    torch's exporter transposes the keys of attention with all leading axes merged. A runtime makes a transposition part
    of the product that reads it, but does not look behind a reshape for one.
    """
    from onnx import helper, numpy_helper

    shapes = _shapes(graph)
    readers = Counter(value for node in graph.node for value in node.input)
    readers.update(each.name for each in graph.output)
    makers = {value: node for node in graph.node for value in node.output}
    nodes = {node.name: [node] for node in graph.node}
    for reshape in graph.node:
        node = makers.get(reshape.input[0]) if reshape.op_type == "Reshape" else None
        if node is None or node.op_type != "Transpose" or readers[node.output[0]] > 1:
            continue
        order = [side for attribute in node.attribute for side in attribute.ints]
        y, flat = shapes.get(reshape.output[0]), shapes.get(node.output[0])
        if order not in ([0, 2, 1], [1, 2, 0]) or not y or not flat or min(y) < 1 or y[-2:] != flat[1:]:
            continue
        name, x = reshape.output[0], node.input[0]
        sides = numpy_helper.from_array(np.array([*y[:-2], y[-1], y[-2]], np.int64), f"{name}.sides")
        graph.initializer.append(sides)
        nodes[node.name] = []
        if order != [0, 2, 1]:
            merged = f"{name}.merged"
            nodes[node.name] = [
                helper.make_node("Transpose", [x], [merged], name=node.name, perm=[order[0], order[2], order[1]])
            ]
            x = merged
        swap = [*range(len(y) - 2), len(y) - 1, len(y) - 2]
        nodes[reshape.name] = [
            helper.make_node("Reshape", [x, sides.name], [f"{name}.split"], name=f"{reshape.name}.split"),
            helper.make_node("Transpose", [f"{name}.split"], [name], name=reshape.name, perm=swap),
        ]
    placed = [each for group in nodes.values() for each in group]
    del graph.node[:]
    graph.node.extend(placed)


def drop_guards(graph: Any) -> None:
    """Take IsNaN and Where from behind the softmax of masked attention, in place, where no row can be masked whole.

    torch's exporter guards against rows of -inf, though its masks add finite numbers. The guard costs two passes over
    the scores, and hides the pattern of attention from a runtime.
    """
    makers = {value: node for node in graph.node for value in node.output}
    constants = {initializer.name: initializer for initializer in graph.initializer}
    instead: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "Where":
            continue
        test, softmax = makers.get(node.input[0]), makers.get(node.input[2])
        guards = test is not None and test.op_type == "IsNaN" and test.input[0] == node.input[2]
        if guards and softmax is not None and softmax.op_type == "Softmax":
            scores = makers.get(softmax.input[0])
            if scores is not None and _is_finite(scores, makers, constants):
                instead[node.output[0]] = node.input[2]
    if instead.keys() & {each.name for each in graph.output}:
        return
    nodes = [node for node in graph.node if node.output[0] not in instead]
    for node in nodes:
        node.input[:] = [instead.get(value, value) for value in node.input]
    read = {value for node in nodes for value in node.input} | {each.name for each in graph.output}
    del graph.node[:]
    graph.node.extend(node for node in nodes if node.op_type != "IsNaN" or node.output[0] in read)


def _is_finite(scores: Any, makers: dict[str, Any], constants: dict[str, Any]) -> bool:
    """Say whether scores are a product, or its sum with a mask of float32 that holds no infinity.

    In float16 the least number and a score can add up to infinity.
    """
    if scores.op_type == "MatMul":
        return True
    if scores.op_type != "Add":
        return False
    product, mask = (makers.get(value) for value in scores.input)
    if product is None or product.op_type != "MatMul":
        return False
    parts = [scores.input[1]] if mask is None else list(mask.input[1:]) if mask.op_type == "Where" else []
    return bool(parts) and all(part in constants and _is_finite_float32(constants[part]) for part in parts)


def _is_finite_float32(constant: Any) -> bool:
    from onnx import TensorProto, numpy_helper

    return constant.data_type == TensorProto.FLOAT and bool(np.isfinite(numpy_helper.to_array(constant)).all())


def divide_by_roots(graph: Any) -> None:
    """Write 1 / root for the Reciprocal of a root, in place: runtimes find RMSNorm by these words."""
    from onnx import TensorProto, helper

    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    roots = {node.output[0] for node in graph.node if node.op_type == "Sqrt"}
    for node in graph.node:
        if node.op_type == "Reciprocal" and node.input[0] in roots and types.get(node.output[0]) == TensorProto.FLOAT:
            one = helper.make_tensor(f"{node.output[0]}.one", TensorProto.FLOAT, [], [1.0])
            graph.initializer.append(one)
            node.op_type = "Div"
            node.input[:] = [one.name, node.input[0]]


def keep_padding_apart(graph: Any) -> None:
    """Write Pad and Conv where a runtime computes a padded convolution faster so, in place. Shapes are static.

    A kernel blocked by channels runs along the last dimension. Where the taps cover that dimension whole, as in a
    convolution over time of [N, C, T, 1], a row has one output; all rows are then laid in one line, but only where
    nothing is padded. torch's exporter folds padding into the convolution, and so do runtimes, unless the Pad names its
    axes; one that has no such kernel folds any. The notes of `benchmarks/results/export.md` name them.
    """
    from onnx import helper, numpy_helper

    shapes = _shapes(graph)
    kernels = {initializer.name: list(initializer.dims) for initializer in graph.initializer}
    nodes = []
    for node in graph.node:
        settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        x, kernel = (shapes.get(node.input[0]), kernels.get(node.input[1])) if node.op_type == "Conv" else (None, None)
        if x and kernel and len(x) == len(kernel) == 4 and _is_faster_apart(x, kernel, settings):
            pads, axes, padded = (f"{node.output[0]}.{part}" for part in ("pads", "axes", "padded"))
            for name, value in ((pads, [settings["pads"][0], settings["pads"][2]]), (axes, [2])):
                graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
            nodes.append(
                helper.make_node("Pad", [node.input[0], pads, "", axes], [padded], name=f"{node.name}.padding")
            )
            node.input[0] = padded
            next(each for each in node.attribute if each.name == "pads").ints[:] = [0] * 4
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_faster_apart(x: list[int], kernel: list[int], settings: dict[str, Any]) -> bool:
    """Say whether the runtime would lay a convolution of `x` [N, C, H, W] in one line, and enough of it is no padding.

    In one line every tap is computed, and otherwise only those that read no padding.
    """
    top, left, bottom, right = settings.get("pads", [0] * 4)
    (height, width), taps = x[2:], kernel[2]
    rows = height + top + bottom - taps + 1
    if (
        min(height, rows) < 1
        or width != kernel[3]
        or top + bottom == 0
        or left + right > 0
        or settings.get("auto_pad", b"NOTSET") != b"NOTSET"
        or settings.get("group", 1) != 1
        or {*settings.get("strides", [1]), *settings.get("dilations", [1])} != {1}
    ):
        return False
    inside = sum(min(height, row - top + taps) - max(0, row - top) for row in range(rows))
    return bool(inside >= LEAST_SHARE * taps * rows)


def _shapes(graph: Any) -> dict[str, list[int]]:
    """Return the shapes that the graph says, with 0 for a side that is not fixed."""
    known = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: [each.dim_value for each in value.type.tensor_type.shape.dim] for value in known}
