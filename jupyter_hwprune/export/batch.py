"""Open the batch of an ONNX graph that was traced for one: the file then takes any, as far as the model does.

Shapes are followed through the graph with the batch as a symbol. A reshape keeps the order of the elements, so the
axis that holds the batch after it is the one that spans the same elements; that axis is left to be computed. What the
graph holds once for each row of the example has to be the same for each, and is then held once. That the outputs are
right at another batch is for a runtime to show.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

BATCH = "batch"
"""The name of the open axis."""
FEW = 64  # elements of a constant that may say a shape
BROADCAST = {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "Where", "PRelu", "MatMul"}
BROADCAST |= {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"}

Dim = int | tuple[int, int]  # (outer, inner) is an axis of outer * batch * inner elements


class FixedBatchError(Exception):
    """Says what in a graph holds its batch."""


def open_batch(proto: Any, inputs: Collection[str], batch: int) -> Any:
    """Return a copy of a graph whose `inputs` have an open first axis, where it was `batch`; raises FixedBatchError."""
    import onnx

    own = onnx.ModelProto()
    own.CopyFrom(proto)
    _Opening(own, frozenset(inputs), batch).run()
    return own


def close_batch(proto: Any, batch: int) -> None:
    """Give the open axes of a graph their size again, in place; the nodes stay as they are, and compute the same."""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if isinstance(found := _read(dim), tuple):
                dim.dim_value = math.prod(found) * batch


class _Opening:
    """Goes through a graph once, in the order of its nodes; `types` holds what is known of the values so far."""

    def __init__(self, proto: Any, inputs: frozenset[str], batch: int) -> None:
        self.proto, self.graph, self.inputs, self.batch = proto, proto.graph, inputs, batch
        self.types: dict[str, Any] = {}
        self.constants: dict[str, Any] = {}
        self.nodes: list[Any] = []

    def run(self) -> None:
        for each in self.graph.initializer:
            self._note_constant(each.name, each)
        for value in self.graph.input:
            if value.name in self.inputs:
                value.type.tensor_type.shape.dim[0].dim_param = BATCH
            self.types[value.name] = value.type
        for node in self.graph.node:
            self._take(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        self._drop_unread_constants()
        for value in (*self.graph.output, *self.graph.value_info):
            if value.name in self.types:
                value.type.CopyFrom(self.types[value.name])
        if all(self._axis(value.name) is None for value in self.graph.output):
            raise FixedBatchError("no output has a row for each row of the input")

    def _drop_unread_constants(self) -> None:
        read = {name for node in self.nodes for name in node.input} | {value.name for value in self.graph.output}
        for place in reversed(range(len(self.graph.initializer))):
            if self.graph.initializer[place].name not in read:
                del self.graph.initializer[place]

    def _take(self, node: Any) -> None:
        """Change a node so that it takes any batch, and note what it makes."""
        carries = any(self._axis(name) is not None for name in node.input if name)
        shape = None
        if not carries:
            self._note_value(node)
        elif node.op_type == "Reshape":
            shape = self._reshape(node)
        elif node.op_type == "Pad":
            shape = self._padded(node)
        elif node.op_type == "Expand":
            self._expand(node)
        elif node.op_type == "Resize":
            shape = self._resize(node)
        elif node.op_type == "Concat":
            self._concat(node)
        elif node.op_type in ("LSTM", "GRU", "RNN"):
            self._repeat_states(node)
        elif node.op_type in BROADCAST:
            self._broadcast(node)
        self.types |= self._inferred(node)
        if shape is not None:
            self._note_shape(node.output[0], shape)
        self.nodes.append(node)
        made = [name for name in node.output if name]
        for name in made:
            known = name in self.types and self.types[name].tensor_type.HasField("shape")
            if not known or any(each == -1 for each in self._shape(name)):
                raise FixedBatchError(f"the shape of what {_called(node)} makes does not follow from the batch")
        if carries and all(self._axis(name) is None for name in made):
            raise FixedBatchError(f"{_called(node)} takes all rows together, or a number of them that is written down")

    def _inferred(self, node: Any) -> dict[str, Any]:
        import onnx

        names = [name for name in node.input if name]
        few = {
            name: self.constants[name]
            for name in names
            if math.prod(self._sizes(name)) <= FEW and name in self.constants
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
            raise FixedBatchError(f"{_called(node)} takes no open batch") from error

    # What is written for one batch

    def _reshape(self, node: Any) -> list[Dim]:
        """Leave the axis that spans the batch's elements to be computed; return the shape."""
        x, target = node.input[0], self._ints(node, 1)
        axis, sizes = self._axis(x), self._sizes(x)
        assert axis is not None
        target = [sizes[place] if size == 0 else size for place, size in enumerate(target)]
        if -1 in target:
            target[target.index(-1)] = -math.prod(sizes) // math.prod(target)
        holds = self._shape(x)[axis]
        assert isinstance(holds, tuple)
        before = math.prod(sizes[:axis]) * holds[0]  # fixed elements that the rows lie behind
        found: list[tuple[int, int, Dim]] = []
        for place, size in enumerate(target):
            so_far = math.prod(target[:place])
            outer, inner = before // so_far, size * so_far // (before * self.batch)
            if outer * so_far == before and outer * self.batch * inner == size:
                found.append((outer * inner, place, (outer, inner)))
        factor, place, dim = min(found, default=(0, 0, (0, 0)))
        if factor != 1 and self.batch == 1:
            place, dim = self._moved(node, axis, holds, target) or (place, dim)
        if dim == (0, 0):
            raise FixedBatchError(f"{_called(node)} mixes the rows with another axis")
        node.input[1] = self._constant(np.array([*target[:place], -1, *target[place + 1 :]], np.int64))
        return [*target[:place], dim, *target[place + 1 :]]

    def _moved(self, node: Any, axis: int, holds: tuple[int, int], target: Sequence[int]) -> tuple[int, Dim] | None:
        """Transpose before a reshape that stands for a transposition too: moving an axis of one row moves no element.

        Returns the row's axis after it, None if it stands nowhere by itself.
        """
        from onnx import helper

        x, sizes = node.input[0], self._sizes(node.input[0])
        others = [*sizes[:axis], holds[0], holds[1], *sizes[axis + 1 :]]
        before = [math.prod(others[:place]) for place in range(len(others) + 1)]
        for place, size in enumerate(target):
            if size == 1 and (so_far := math.prod(target[:place])) in before:
                apart, moved = (f"{BATCH}.{what}.{len(self.nodes)}" for what in ("apart", "moved"))
                split = self._constant(np.array([*others[: axis + 1], -1, *others[axis + 1 :]], np.int64))
                self._add(helper.make_node("Reshape", [x, split], [apart], name=apart))
                self._note_shape(apart, [*others[: axis + 1], (1, 1), *others[axis + 1 :]])
                order = [each for each in range(len(others) + 1) if each != axis + 1]
                order.insert(before.index(so_far), axis + 1)
                self._add(helper.make_node("Transpose", [apart], [moved], name=moved, perm=order))
                node.input[0] = moved
                return place, (1, 1)
        return None

    def _padded(self, node: Any) -> list[Dim]:
        """Return the shape, which is not inferred where the padding names its axes."""
        shape = self._shape(node.input[0])
        axes = self._ints(node, 3) if len(node.input) > 3 and node.input[3] else range(len(shape))
        pads = self._ints(node, 1)
        for place, axis in enumerate(axes):
            size, more = shape[axis], pads[place] + pads[place + len(axes)]
            if isinstance(size, int):
                shape[axis] = size + more
            elif more:
                raise FixedBatchError(f"{_called(node)} adds rows to those of the input")
        return shape

    def _expand(self, node: Any) -> None:
        """Leave the axis of the batch as wide as it comes."""
        x, target = node.input[0], self._ints(node, 1)
        axis = self._axis(x)
        assert axis is not None
        place = axis - len(self._shape(x)) + len(target)
        if place >= 0:
            target[place] = 1
            node.input[1] = self._constant(np.array(target, np.int64))

    def _resize(self, node: Any) -> list[Dim] | None:
        """Say the sizes of the other axes alone; return the shape, which is not inferred then."""
        from onnx import helper

        if len(node.input) < 4 or not node.input[3] or any(each.name == "axes" for each in node.attribute):
            return None
        sizes, axis = self._ints(node, 3), self._axis(node.input[0])
        others = [place for place in range(len(sizes)) if place != axis]
        node.input[3] = self._constant(np.array([sizes[place] for place in others], np.int64))
        node.attribute.append(helper.make_attribute("axes", others))
        return [dim if place == axis else sizes[place] for place, dim in enumerate(self._shape(node.input[0]))]

    def _concat(self, node: Any) -> None:
        """Repeat for each row what is joined to it, such as the token of a class."""
        axis = next(axis for name in node.input if (axis := self._axis(name)) is not None)
        joined = next(each.i for each in node.attribute if each.name == "axis")
        if joined % len(self._shape(node.input[0])) == axis:
            raise FixedBatchError(f"{_called(node)} joins rows to those of the input")
        for place, name in enumerate(node.input):
            if self._axis(name) is None:
                node.input[place] = self._repeated(node, name, axis)

    def _repeat_states(self, node: Any) -> None:
        """Repeat the first states of a recurrent layer for each row."""
        axis = 0 if any(each.name == "layout" and each.i for each in node.attribute) else 1
        for place, name in enumerate(node.input):
            if place in (5, 6) and name and self._axis(name) is None:
                node.input[place] = self._repeated(node, name, axis)

    def _broadcast(self, node: Any) -> None:
        """Hold a constant once where it is the same for each row."""
        shapes = [self._shape(name) for name in node.input]
        rank = max(map(len, shapes))
        for axis in range(rank - 2 if node.op_type == "MatMul" else rank):
            own = [axis - rank + len(shape) for shape in shapes]
            dims = [shape[place] if place >= 0 else 1 for shape, place in zip(shapes, own, strict=True)]
            if any(isinstance(dim, tuple) for dim in dims):
                for place, dim in enumerate(dims):
                    if isinstance(dim, int) and dim != 1:
                        node.input[place] = self._once(node, node.input[place], own[place])

    def _once(self, node: Any, name: str, axis: int) -> str:
        """Return the name of a constant that holds one row, where the rows along `axis` are all the same."""
        from onnx import TensorProto, numpy_helper

        held = self.constants.get(name)
        apart = held is not None and held.data_location == TensorProto.EXTERNAL
        if held is None or apart or self._sizes(name)[axis] != self.batch:
            raise FixedBatchError(f"{_called(node)} reads a value that is made for {self.batch} rows")
        values = numpy_helper.to_array(held)
        row = values.take([0], axis)
        if not np.array_equal(np.broadcast_to(row, values.shape), values):
            raise FixedBatchError(f"{_called(node)} reads a constant that is another one for each row")
        return self._constant(row)

    def _repeated(self, node: Any, name: str, axis: int) -> str:
        """Return the name of a value that is repeated along `axis`, once for each row."""
        from onnx import helper

        if self._sizes(name)[axis] != 1:
            name = self._once(node, name, axis)
        shape = self._shape(name)
        rows, target, made = f"{BATCH}.rows", f"{BATCH}.shape.{len(self.nodes)}", f"{BATCH}.repeated.{len(self.nodes)}"
        if rows not in self.types:
            first = next(value.name for value in self.graph.input if value.name in self.inputs)
            self._add(helper.make_node("Shape", [first], [rows], name=rows, start=0, end=1))
        around = [self._constant(np.ones(many, np.int64)) for many in (axis, len(shape) - axis - 1)]
        self._add(helper.make_node("Concat", [around[0], rows, around[1]], [target], name=target, axis=0))
        self._add(helper.make_node("Expand", [name, target], [made], name=made))
        self._note_shape(made, [(1, 1) if place == axis else size for place, size in enumerate(shape)])
        return made

    def _add(self, node: Any) -> None:
        self.types |= self._inferred(node)
        self.nodes.append(node)

    # What is known of values

    def _shape(self, name: str) -> list[Dim]:
        """Return a value's shape; -1 for an axis of which nothing is known."""
        return [_read(each) for each in self.types[name].tensor_type.shape.dim]

    def _axis(self, name: str) -> int | None:
        """Return the axis of a value that holds the batch."""
        return next((place for place, each in enumerate(self._shape(name)) if isinstance(each, tuple)), None)

    def _sizes(self, name: str) -> list[int]:
        """Return a value's shape at the batch of the example."""
        return [each if isinstance(each, int) else math.prod(each) * self.batch for each in self._shape(name)]

    def _ints(self, node: Any, place: int) -> list[int]:
        from onnx import numpy_helper

        held = self.constants.get(node.input[place])
        if held is None:
            raise FixedBatchError(f"{_called(node)} computes a shape")
        return [int(each) for each in numpy_helper.to_array(held)]

    def _constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"{BATCH}.constant.{len(self.constants)}"
        held = numpy_helper.from_array(values, name)
        self.graph.initializer.append(held)
        self._note_constant(name, held)
        return name

    def _note_constant(self, name: str, held: Any) -> None:
        from onnx import helper

        self.constants[name] = held
        self.types[name] = helper.make_tensor_type_proto(held.data_type, list(held.dims))

    def _note_value(self, node: Any) -> None:
        """Note a constant that is a node."""
        for each in node.attribute:
            if node.op_type == "Constant" and each.name == "value":
                self._note_constant(node.output[0], each.t)

    def _note_shape(self, name: str, dims: Sequence[Dim]) -> None:
        shape = self.types[name].tensor_type.shape
        del shape.dim[:]
        for each in dims:
            if isinstance(each, int):
                shape.dim.add(dim_value=each)
            else:
                shape.dim.add(dim_param=BATCH if each == (1, 1) else f"{each[0]}*{BATCH}*{each[1]}")


def _read(dim: Any) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    if dim.dim_param == BATCH:
        return 1, 1
    found = re.fullmatch(rf"(\d+)\*{BATCH}\*(\d+)", dim.dim_param)
    return (int(found[1]), int(found[2])) if found else -1


def _called(node: Any) -> str:
    layer = node.name.partition("::")[0]
    return f"{node.op_type} of {layer}" if layer else node.op_type
