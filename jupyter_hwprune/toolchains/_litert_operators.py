"""The operators of a .tflite file, in the order of execution, each with the torch layer whose weight it reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

OPS = {
    "CONV_2D": "Conv",
    "DEPTHWISE_CONV_2D": "Conv",
    "CONV_3D": "Conv",
    "TRANSPOSE_CONV": "ConvTranspose",
    "FULLY_CONNECTED": "Gemm",
    "BATCH_MATMUL": "MatMul",
    "EMBEDDING_LOOKUP": "Gather",
}


class Operator(NamedTuple):
    """`op` is what ONNX calls a product, "" for another; `kinds` are the data types of the inputs.

    `weighted` says whether a product reads a matrix that stands in the file.
    """

    name: str
    op: str
    layer: str | None
    kinds: list[str]
    weighted: bool


def operators(path: str, weights: dict[str, Any]) -> list[Operator]:
    """Read a file; `weights` are those of the torch layers, by the layers' names."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # a delegate is one operator that hides the others
    interpreter = Interpreter(path, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    tensors = {each["index"]: each for each in interpreter.get_tensor_details()}
    listed = interpreter._get_ops_details()  # its only list of operators
    made = {place for each in listed for place in each["outputs"]}
    made |= {each["index"] for each in interpreter.get_input_details()}
    found = []
    for each in listed:
        op, read = OPS.get(each["op_name"], ""), [place for place in each["inputs"] if place >= 0]
        layer, weighted = None, False
        if op:
            names = [tensors[place]["name"] for place in (*read[1:], *each["outputs"])]
            own = [place for place in read if place not in made and len(tensors[place]["shape"]) > 1]
            weighted = bool(own)
            layer = _by_value(interpreter, own, weights) or _by_name(names, weights)
        found.append(Operator(each["op_name"], op, layer, [tensors[i]["dtype"].__name__ for i in read], weighted))
    return found


def _by_value(interpreter: Any, places: Sequence[int], weights: dict[str, Any]) -> str | None:
    """Return the layer whose weight stands as it is at one of these places."""
    import numpy as np

    for value in map(interpreter.get_tensor, places):
        for layer, weight in weights.items():
            if value.shape == weight.shape and np.array_equal(value, weight):
                return layer
    return None


def _by_name(names: list[str], weights: dict[str, Any]) -> str | None:
    """Return the layer of the first name that leads to one: the classes and names of its modules, from the root."""
    for name in names:
        for path in re.sub(r";\d*$", "", name).split(";;"):
            fitting = [each for each in weights if re.fullmatch(_path_of(each), path.rstrip(";"))]
            if fitting:
                return max(fitting, key=len)
    return None


def _path_of(layer: str) -> str:
    """Return the pattern of a layer's path in litert-torch's names: Net/Sequential_block/Conv2d_0 for block.0."""
    if not layer:
        return r"[^/]*"
    return r"[^/]*/[^/]*_" + r"(?:\.|/[^/]*_)".join(map(re.escape, layer.split(".")))
