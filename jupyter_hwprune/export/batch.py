"""Open the batch of an ONNX graph that was traced for one: the file then takes any, as far as the model does.

Shapes are followed through the graph with the batch as a symbol. A reshape keeps the order of the elements, so the
axis that holds the batch after it is the one that spans the same elements; that axis is left to be computed. What the
graph holds once for each row of the example has to be the same for each, and is then held once. That the outputs are
right at another batch is for a runtime to show.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..core.errors import first_line
from .shapes import BATCH, Dim, FixedBatchError, Shapes, called, dim_of

BROADCAST = {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "Where", "PRelu", "MatMul"}
BROADCAST |= {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"}


def open_batch(proto: Any, inputs: Collection[str], batch: int) -> Any:
    """Return a copy of a graph whose `inputs` have an open first axis, where it was `batch`; raises FixedBatchError."""
    import onnx

    own = onnx.ModelProto()
    own.CopyFrom(proto)
    try:
        _Opening(own, frozenset(inputs), batch).run()
    except FixedBatchError:
        raise
    except Exception as error:  # the graph is right at its own batch, whatever is strange in it
        raise FixedBatchError(f"its graph cannot be followed ({first_line(error)})") from error
    return own


def close_batch(proto: Any, batch: int) -> None:
    """Give the open axes of a graph their size again, in place; the nodes stay as they are, and compute the same."""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if isinstance(found := dim_of(dim), tuple):
                dim.dim_value = math.prod(found) * batch


class _Opening(Shapes):
    """Goes through a graph once, in the order of its nodes."""

    def __init__(self, proto: Any, inputs: frozenset[str], batch: int) -> None:
        super().__init__(proto, batch)
        self.inputs, self.nodes = inputs, list[Any]()

    def run(self) -> None:
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
        if all(self.axis(value.name) is None for value in self.graph.output):
            raise FixedBatchError("no output has a row for each row of the input")

    def _drop_unread_constants(self) -> None:
        read = {name for node in self.nodes for name in node.input} | {value.name for value in self.graph.output}
        for place in reversed(range(len(self.graph.initializer))):
            if self.graph.initializer[place].name not in read:
                del self.graph.initializer[place]

    def _take(self, node: Any) -> None:
        """Change a node so that it takes any batch, and note what it makes."""
        carries = any(self.axis(name) is not None for name in node.input if name)
        shape = None
        if not carries:
            self.note_value(node)
        elif node.op_type == "Reshape" or (node.op_type == "Gather" and self._takes_all(node)):
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
        self.types |= self.inferred(node)
        if shape is not None:
            self.note_shape(node.output[0], shape)
        self.nodes.append(node)
        made = [name for name in node.output if name]
        for name in made:
            known = name in self.types and self.types[name].tensor_type.HasField("shape")
            if not known or any(each == -1 for each in self.shape(name)):
                raise FixedBatchError(f"the shape of what {called(node)} makes does not follow from the batch")
        if carries and all(self.axis(name) is None for name in made):
            raise FixedBatchError(f"{called(node)} takes all rows together, or a number of them that is written down")

    # What is written for one batch

    def _reshape(self, node: Any) -> list[Dim]:
        """Leave the axis that spans the batch's elements to be computed; return the shape."""
        x, target = node.input[0], self.ints(node, 1)
        axis, sizes = self.axis(x), self.sizes(x)
        assert axis is not None
        target = [sizes[place] if size == 0 else size for place, size in enumerate(target)]
        if -1 in target:
            target[target.index(-1)] = -math.prod(sizes) // math.prod(target)
        holds = self.shape(x)[axis]
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
            raise FixedBatchError(f"{called(node)} mixes the rows with another axis")
        node.input[1] = self.constant(np.array([*target[:place], -1, *target[place + 1 :]], np.int64))
        return [*target[:place], dim, *target[place + 1 :]]

    def _moved(self, node: Any, axis: int, holds: tuple[int, int], target: Sequence[int]) -> tuple[int, Dim] | None:
        """Transpose before a reshape that stands for a transposition too: moving an axis of one row moves no element.

        Returns the row's axis after it, None if it stands nowhere by itself.
        """
        from onnx import helper

        x, sizes = node.input[0], self.sizes(node.input[0])
        others = [*sizes[:axis], holds[0], holds[1], *sizes[axis + 1 :]]
        before = [math.prod(others[:place]) for place in range(len(others) + 1)]
        for place, size in enumerate(target):
            if size == 1 and (so_far := math.prod(target[:place])) in before:
                apart, moved = (f"{BATCH}.{what}.{len(self.nodes)}" for what in ("apart", "moved"))
                split = self.constant(np.array([*others[: axis + 1], -1, *others[axis + 1 :]], np.int64))
                self._add(helper.make_node("Reshape", [x, split], [apart], name=apart))
                self.note_shape(apart, [*others[: axis + 1], (1, 1), *others[axis + 1 :]])
                order = [each for each in range(len(others) + 1) if each != axis + 1]
                order.insert(before.index(so_far), axis + 1)
                self._add(helper.make_node("Transpose", [apart], [moved], name=moved, perm=order))
                node.input[0] = moved
                return place, (1, 1)
        return None

    def _takes_all(self, node: Any) -> bool:
        """Make a reshape of a lookup that takes every element in its place, which is how a stride is exported."""
        from onnx import numpy_helper

        sizes, held = self.sizes(node.input[0]), self.constants.get(node.input[1])
        if len(sizes) != 1 or held is None or math.prod(held.dims) != sizes[0]:
            return False
        if not np.array_equal(numpy_helper.to_array(held).flatten(), np.arange(sizes[0])):
            return False
        node.op_type, node.input[1] = "Reshape", self.constant(np.array(held.dims, np.int64))
        del node.attribute[:]
        return True

    def _padded(self, node: Any) -> list[Dim]:
        """Return the shape, which is not inferred where the padding names its axes."""
        shape = self.shape(node.input[0])
        axes = self.ints(node, 3) if len(node.input) > 3 and node.input[3] else range(len(shape))
        pads = self.ints(node, 1)
        for place, axis in enumerate(axes):
            size, more = shape[axis], pads[place] + pads[place + len(axes)]
            if isinstance(size, int):
                shape[axis] = size + more
            elif more:
                raise FixedBatchError(f"{called(node)} adds rows to those of the input")
        return shape

    def _expand(self, node: Any) -> None:
        """Leave the axis of the batch as wide as it comes."""
        x, target = node.input[0], self.ints(node, 1)
        axis = self.axis(x)
        assert axis is not None
        place = axis - len(self.shape(x)) + len(target)
        if place >= 0:
            target[place] = 1
            node.input[1] = self.constant(np.array(target, np.int64))

    def _resize(self, node: Any) -> list[Dim] | None:
        """Say the sizes of the other axes alone; return the shape, which is not inferred then."""
        from onnx import helper, numpy_helper

        if any(each.name == "axes" for each in node.attribute):
            return None
        if len(node.input) == 3 and node.input[2] in self.constants:
            shape, scales = self.shape(node.input[0]), numpy_helper.to_array(self.constants[node.input[2]])
            if any(scale != 1 for scale, dim in zip(scales, shape, strict=True) if isinstance(dim, tuple)):
                raise FixedBatchError(f"{called(node)} resizes the rows too")
            return [
                int(dim * float(scale)) if isinstance(dim, int) else dim
                for dim, scale in zip(shape, scales, strict=True)
            ]
        if len(node.input) < 4 or not node.input[3]:
            return None
        sizes, axis = self.ints(node, 3), self.axis(node.input[0])
        others = [place for place in range(len(sizes)) if place != axis]
        node.input[3] = self.constant(np.array([sizes[place] for place in others], np.int64))
        node.attribute.append(helper.make_attribute("axes", others))
        return [dim if place == axis else sizes[place] for place, dim in enumerate(self.shape(node.input[0]))]

    def _concat(self, node: Any) -> None:
        """Repeat for each row what is joined to it, such as the token of a class."""
        axis = next(axis for name in node.input if (axis := self.axis(name)) is not None)
        joined = next(each.i for each in node.attribute if each.name == "axis")
        if joined % len(self.shape(node.input[0])) == axis:
            raise FixedBatchError(f"{called(node)} joins rows to those of the input")
        for place, name in enumerate(node.input):
            if self.axis(name) is None:
                node.input[place] = self._repeated(node, name, axis)

    def _repeat_states(self, node: Any) -> None:
        """Repeat the first states of a recurrent layer for each row."""
        axis = 0 if any(each.name == "layout" and each.i for each in node.attribute) else 1
        for place, name in enumerate(node.input):
            if place in (5, 6) and name and self.axis(name) is None:
                node.input[place] = self._repeated(node, name, axis)

    def _broadcast(self, node: Any) -> None:
        """Hold a constant once where it is the same for each row."""
        shapes = [self.shape(name) for name in node.input]
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
        if held is None or apart or self.sizes(name)[axis] != self.batch:
            raise FixedBatchError(f"{called(node)} reads a value that is made for {self.batch} rows")
        values = numpy_helper.to_array(held)
        row = values.take([0], axis)
        if not np.array_equal(np.broadcast_to(row, values.shape), values):
            raise FixedBatchError(f"{called(node)} reads a constant that differs from row to row")
        return self.constant(row)

    def _repeated(self, node: Any, name: str, axis: int) -> str:
        """Return the name of a value that is repeated along `axis`, once for each row."""
        from onnx import helper

        if self.sizes(name)[axis] != 1:
            name = self._once(node, name, axis)
        shape = self.shape(name)
        rows, target, made = f"{BATCH}.rows", f"{BATCH}.shape.{len(self.nodes)}", f"{BATCH}.repeated.{len(self.nodes)}"
        if rows not in self.types:
            first = next(value.name for value in self.graph.input if value.name in self.inputs)
            self._add(helper.make_node("Shape", [first], [rows], name=rows, start=0, end=1))
        around = [self.constant(np.ones(many, np.int64)) for many in (axis, len(shape) - axis - 1)]
        self._add(helper.make_node("Concat", [around[0], rows, around[1]], [target], name=target, axis=0))
        self._add(helper.make_node("Expand", [name, target], [made], name=made))
        self.note_shape(made, [(1, 1) if place == axis else size for place, size in enumerate(shape)])
        return made

    def _add(self, node: Any) -> None:
        self.types |= self.inferred(node)
        self.nodes.append(node)
