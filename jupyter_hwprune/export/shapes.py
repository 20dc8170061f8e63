"""Shapes of an ONNX graph's values with the batch as a symbol, and the constants that say shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

BATCH = "batch"
"""The name of the open axis."""
FEW = 64  # elements of a constant that may say a shape

Dim = int | tuple[int, int]  # (outer, inner) is an axis of outer * batch * inner elements


class FixedBatchError(Exception):
    """Says what in a graph holds its batch."""


class Shapes:
    """What is known of a graph's values so far; `batch` is what the graph was traced with."""

    def __init__(self, proto: Any, batch: int) -> None:
        self.proto, self.graph, self.batch = proto, proto.graph, batch
        self.types: dict[str, Any] = {}
        self.constants: dict[str, Any] = {}
        for each in self.graph.initializer:
            self.note_constant(each.name, each)

    def inferred(self, node: Any) -> dict[str, Any]:
        import onnx

        names = [name for name in node.input if name]
        few = {
            name: self.constants[name]
            for name in names
            if math.prod(self.sizes(name)) <= FEW and name in self.constants
        }
        opset = next(each.version for each in self.proto.opset_import if each.domain == node.domain)
        try:
            return dict(
                onnx.shape_inference.infer_node_outputs(
                    onnx.defs.get_schema(node.op_type, opset, node.domain),
                    node,
                    {name: self.types[name] for name in names},
                    few,
                    opset_imports=[*self.proto.opset_import],
                )
            )
        except Exception as error:
            raise FixedBatchError(f"{called(node)} takes no open batch") from error

    def shape(self, name: str) -> list[Dim]:
        """Return a value's shape; -1 for an axis of which nothing is known."""
        return [dim_of(each) for each in self.types[name].tensor_type.shape.dim]

    def axis(self, name: str) -> int | None:
        """Return the axis of a value that holds the batch."""
        return next((place for place, each in enumerate(self.shape(name)) if isinstance(each, tuple)), None)

    def sizes(self, name: str) -> list[int]:
        """Return a value's shape at the batch of the example."""
        return [each if isinstance(each, int) else math.prod(each) * self.batch for each in self.shape(name)]

    def ints(self, node: Any, place: int) -> list[int]:
        from onnx import numpy_helper

        held = self.constants.get(node.input[place])
        if held is None:
            raise FixedBatchError(f"{called(node)} computes a shape")
        return [int(each) for each in numpy_helper.to_array(held)]

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"{BATCH}.constant.{len(self.constants)}"
        held = numpy_helper.from_array(values, name)
        self.graph.initializer.append(held)
        self.note_constant(name, held)
        return name

    def note_constant(self, name: str, held: Any) -> None:
        from onnx import helper

        self.constants[name] = held
        self.types[name] = helper.make_tensor_type_proto(held.data_type, list(held.dims))

    def note_value(self, node: Any) -> None:
        """Note a constant that is a node."""
        for each in node.attribute:
            if node.op_type == "Constant" and each.name == "value":
                self.note_constant(node.output[0], each.t)

    def note_shape(self, name: str, dims: Sequence[Dim]) -> None:
        shape = self.types[name].tensor_type.shape
        del shape.dim[:]
        for each in dims:
            if isinstance(each, int):
                shape.dim.add(dim_value=each)
            else:
                shape.dim.add(dim_param=BATCH if each == (1, 1) else f"{each[0]}*{BATCH}*{each[1]}")


def dim_of(dim: Any) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    if dim.dim_param == BATCH:
        return 1, 1
    found = re.fullmatch(rf"(\d+)\*{BATCH}\*(\d+)", dim.dim_param)
    return (int(found[1]), int(found[2])) if found else -1


def called(node: Any) -> str:
    layer = node.name.partition("::")[0]
    return f"{node.op_type} of {layer}" if layer else node.op_type
