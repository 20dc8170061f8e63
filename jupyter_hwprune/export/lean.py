"""Take the values of large weights out of an ONNX graph, so that its rewriting takes no time for their bytes.

A weight without its values stays an initializer of its shape and type, whose data is said to lie in a file that is
not there: whatever reads it fails. Equal values have equal names of that file, so that weights can be compared.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from typing import Any

LARGE_ELEMENTS = 1 << 14
PRODUCTS = {"MatMul": (0, 1), "Gemm": (1,), "Conv": (1,), "ConvTranspose": (1,), "Gather": (0,)}
"""The inputs of operators that onnxslim takes the shape of, and not the values; but see MERGED."""
MERGED = frozenset({"Add", "Mul", "BatchNormalization"})
"""Operators with constants that onnxslim merges into the convolution before them."""
TIED = ["Gather", "Transpose"]
"""The two readers of an embedding that is also the weight of the last product; onnxslim leaves the second unfolded."""


def take_values(graph: Any) -> dict[str, bytes]:
    """Take out the values of large weights that only products of activations read, in place; return them by file."""
    from onnx import TensorProto

    fixed, readers, outputs = _fixed(graph), _readers(graph), {each.name for each in graph.output}
    values: dict[str, bytes] = {}
    for weight in graph.initializer:
        own, large = readers[weight.name], math.prod(weight.dims) >= LARGE_ELEMENTS and weight.HasField("raw_data")
        if not large or weight.name in outputs or not (_is_tied(own) or all(_is_product(*use, fixed) for use in own)):
            continue
        merged = (
            after.op_type in MERGED and fixed.intersection(after.input)
            for node, _ in own
            if node.op_type.startswith("Conv")
            for after, _ in readers[node.output[0]]
        )
        if not any(merged):
            held = weight.raw_data
            file = hashlib.sha256(held).hexdigest()
            values[file] = held
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            weight.external_data.add(key="location", value=file)
    return values


def put_values(graph: Any, values: dict[str, bytes]) -> None:
    """Put the values back, in place."""
    for weight in graph.initializer:
        if weight.external_data:
            weight.raw_data = values[weight.external_data[0].value]
            weight.ClearField("external_data")
            weight.ClearField("data_location")


def folded_none(graph: Any) -> bool:
    """Say whether no node is left that onnxslim would have folded, had it had the values."""
    fixed, readers = _fixed(graph), _readers(graph)
    away = [readers[each.name] for each in graph.initializer if each.external_data]
    return not any(fixed.issuperset(node.output) for own in away if not _is_tied(own) for node, _ in own)


def with_weights_as_inputs(proto: Any) -> Any:
    """Return a copy in which weights without values are inputs, for a checker that would look for their files."""
    from onnx import ModelProto, helper

    own = ModelProto()
    own.CopyFrom(proto)
    kept = [each for each in own.graph.initializer if not each.external_data]
    away = [each for each in own.graph.initializer if each.external_data]
    own.graph.input.extend(helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in away)
    del own.graph.initializer[:]
    own.graph.initializer.extend(kept)
    return own


def weight_bytes(graph: Any) -> int:
    """Return about how many bytes the graph's weights take: `ByteSize` would write them all out to count them."""
    from onnx import helper

    return sum(
        math.prod(each.dims) * helper.tensor_dtype_to_np_dtype(each.data_type).itemsize
        for each in graph.initializer
        if not each.external_data
    )


def _fixed(graph: Any) -> set[str]:
    """Return the values that do not depend on the model's inputs."""
    fixed = {"", *(each.name for each in graph.initializer)}
    for node in graph.node:
        if fixed.issuperset(node.input):
            fixed.update(node.output)
    return fixed


def _readers(graph: Any) -> defaultdict[str, list[tuple[Any, int]]]:
    """Return the nodes that read each value, and at which place among their inputs."""
    readers = defaultdict(list)
    for node in graph.node:
        for place, value in enumerate(node.input):
            readers[value].append((node, place))
    return readers


def _is_product(node: Any, place: int, fixed: set[str]) -> bool:
    return place in PRODUCTS.get(node.op_type, ()) and not fixed.issuperset(node.input)


def _is_tied(uses: list[tuple[Any, int]]) -> bool:
    return sorted(node.op_type for node, _ in uses) == TIED and all(place == 0 for _, place in uses)
