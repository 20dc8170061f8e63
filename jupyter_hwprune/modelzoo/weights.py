"""Find the weights of an ONNX graph, count their zeros, and detect the zeros' pattern."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.pattern import NM, Block, Pattern, Unstructured
from ..pruning.layers import matrix_of
from ..pruning.picture import draw
from ..pruning.weights import valid_share
from ..report import Layer, Picture, Skipped

FEWEST = 0.01  # a smaller share of zeros does not come from pruning
# the inputs of a product that may be its weight; if quantised, its zero point is two inputs further
SLOTS = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (1, 0),
    "MatMul": (1, 0),
    "ConvInteger": (1,),
    "MatMulInteger": (1, 0),
    "QLinearConv": (3,),
    "QLinearMatMul": (3, 0),
}
Shapes = Mapping[str, tuple[int, ...]]
FLOATS, INTEGERS = ("float16", "float32", "float64"), ("int8", "uint8")


@dataclass(frozen=True)
class WeightOfFile:
    """The weight of one product: `value` names the product's output in the file, `initializer` the tensor itself.

    `matrix` is True where a weight is not zero, bool [K, taps, C]; None if it was not read, with the `reason`.
    """

    layer: str
    value: str
    op: str
    initializer: str
    shape: tuple[int, ...]
    dtype: str
    zero: Any
    matrix: Tensor | None
    macs: int | None
    reason: str | None
    groups: int = 1

    @property
    def zeros(self) -> int:
        return 0 if self.matrix is None else self.matrix.numel() - int(self.matrix.count_nonzero())

    @property
    def sparsity(self) -> float:
        return 0.0 if self.matrix is None else self.zeros / self.matrix.numel()


def weights_of(proto: Any, shapes: Shapes) -> list[WeightOfFile]:
    """Find every product by a constant, in the order of execution."""
    from onnx import numpy_helper

    graph = proto.graph
    constants = {each.name: each for each in graph.initializer}
    maker = {value: node for node in graph.node for value in node.output}
    arrays: dict[str, np.ndarray] = {}
    found: list[WeightOfFile] = []
    names: set[str] = set()
    for node in graph.node:
        for slot in SLOTS.get(node.op_type, ()):
            chain = list(_chain(node, slot, maker)) if slot < len(node.input) else []
            source = chain[-1][0].input[chain[-1][1]] if chain else ""
            if source in constants and len(constants[source].dims) >= 2:
                if source not in arrays:
                    arrays[source] = numpy_helper.to_array(constants[source])
                layer = _name(node, source, names)
                names.add(layer)
                found.append(_weight(layer, chain, arrays[source], constants, shapes))
                break
    return found


def _chain(node: Any, slot: int, maker: Mapping[str, Any]) -> Iterator[tuple[Any, int]]:
    """Walk from a product up to its weight, through nodes that only transpose or dequantise it."""
    while True:
        yield node, slot
        above = maker.get(node.input[slot])
        if above is None or above.op_type not in {"Identity", "Transpose", "DequantizeLinear"}:
            return
        node, slot = above, 0


def _name(node: Any, source: str, taken: set[str]) -> str:
    """Name a layer after the module that owns its weight, if the file says so, else after its node."""
    module, _, own = source.rpartition(".")
    first = module if own.startswith("weight") and module else node.name or node.output[0]
    name = first.replace("::", ".").replace(",", " ")
    return name if name not in taken else f"{name} ({node.output[0]})"


def _weight(
    layer: str, chain: list[tuple[Any, int]], array: np.ndarray, constants: Mapping[str, Any], shapes: Shapes
) -> WeightOfFile:
    (node, slot), (last, place), dtype = chain[0], chain[-1], str(array.dtype)
    reason = None if dtype in (*FLOATS, *INTEGERS) else f"its weights are {dtype}, which are not searched for zeros"
    zero = _zero_point(last, place, array, constants)
    keep = array != zero
    for each, _ in reversed(chain[1:]):
        if each.op_type == "Transpose":
            keep = np.transpose(keep, _attributes(each).get("perm"))
    settings = _attributes(node)
    if "Conv" not in node.op_type and keep.ndim != 2:
        reason = f"its weight has {keep.ndim} dimensions, so it is not a single matrix"
    matrix, macs = None, None
    if reason is None:
        if "Conv" not in node.op_type and bool(settings.get("transB" if slot else "transA")) == (slot == 0):
            keep = keep.T  # [K, C]
        groups = settings.get("group", 1) if node.op_type == "ConvTranspose" else None
        matrix = matrix_of(torch.from_numpy(np.ascontiguousarray(keep)), groups)
        macs = _macs(node, keep, shapes)
    names = (layer, node.output[0], node.op_type, last.input[place])
    return WeightOfFile(*names, array.shape, dtype, zero, matrix, macs, reason, settings.get("group", 1))


def _zero_point(node: Any, slot: int, array: np.ndarray, constants: Mapping[str, Any]) -> Any:
    """Return the value that means zero in a weight: 0, or a zero point for the whole tensor or for each channel."""
    from onnx import numpy_helper

    place = slot + 2
    quantised = node.op_type == "DequantizeLinear" or (node.op_type in SLOTS and array.dtype.kind in "iu")
    if not quantised or place >= len(node.input) or node.input[place] not in constants:
        return array.dtype.type(0)
    point = numpy_helper.to_array(constants[node.input[place]])
    if point.size == 1:
        return array.dtype.type(point.item())
    axis = _attributes(node).get("axis", 0 if "Conv" in node.op_type else array.ndim - 1)
    return point.reshape([-1 if i == axis % array.ndim else 1 for i in range(array.ndim)])


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _macs(node: Any, keep: np.ndarray, shapes: Shapes) -> int | None:
    """Count multiply-accumulates: a row of the weight makes one output value, or spreads one input value."""
    shape = shapes.get(node.input[0] if node.op_type == "ConvTranspose" else node.output[0])
    return None if shape is None else math.prod(shape) * math.prod(keep.shape[1:])


def pattern_of(matrix: Tensor) -> Pattern:
    """Recognise the pattern of a weight's zeros: 2:4, blocks, or single zeros. bool [K, taps, C]."""
    outputs, _, inputs = matrix.shape
    pairs = NM(2, 4)
    values = matrix.to(torch.int8)
    share = 1 - float(matrix.float().mean())
    # at a higher sparsity small layers hold 2:4 by chance
    if inputs % pairs.m == 0 and 0.5 <= share < 0.6 and valid_share(values, matrix, pairs) == 1.0:
        return pairs
    for block in (Block(16, 16), Block(1, 4)):
        if outputs % block.rows == 0 and inputs % block.columns == 0 and valid_share(values, matrix, block) == 1.0:
            return block
    return Unstructured()


def describe(weights: Sequence[WeightOfFile]) -> tuple[tuple[Layer, ...], tuple[Skipped, ...]]:
    """Return the layers with zeros in their weights, and those without."""
    layers, skipped = [], []
    for each in weights:
        own = (each.layer, each.op, each.shape)
        if each.matrix is None or each.sparsity < FEWEST:
            reason = each.reason or f"{100 * each.sparsity:.1f} % of its weights are zero: it came dense"
            skipped.append(Skipped(*own, reason))
        else:
            pattern, picture = str(pattern_of(each.matrix)), draw(each.matrix.flatten(1))
            described = layer_of(*own, pattern, each.sparsity, each.macs, picture)
            layers.append(replace(described, groups=each.groups if each.groups > 1 else None))
    return tuple(layers), tuple(skipped)


def layer_of(
    name: str, op: str, shape: tuple[int, ...], pattern: str, sparsity: float, macs: int | None, picture: Picture | None
) -> Layer:
    """Describe a layer that came with zeros, by the pattern that these zeros have."""
    left = None if macs is None else round(macs * (1 - sparsity))
    weights = (name, op, shape, shape, pattern, round(sparsity, 6), macs, left)
    return Layer(*weights, valid=True, valid_groups=1.0, picture=picture)
