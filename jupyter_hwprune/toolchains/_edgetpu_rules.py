"""The documented rules of the Edge TPU, held against each operator of an int8 .tflite file, in the order of execution.

They say which operators the chip can take, and not how fast it is. The compiler may still leave an operator to the CPU
for a reason that its pages do not give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "https://coral.ai/docs/edgetpu/models-intro/#supported-operations"
SOFTMAX = 16000  # elements at most, by that page
MEAN = 4  # what a reduced last dimension is a multiple of, by that page
INT8 = ("INT8", "UINT8")


class Tensor(NamedTuple):
    """`kind` is the data type by TensorFlow Lite's name; `value` is None for what is computed."""

    name: str
    shape: list[int]
    kind: str
    value: Any


class Operator(NamedTuple):
    """An operator by TensorFlow Lite's name; `options` are its attributes by the names of the file's schema."""

    name: str
    options: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]


class Placed(NamedTuple):
    """`reason` says why the chip does not take an operator by itself; None if it does, as far as the pages say."""

    operator: Operator
    reason: str | None


Broken = Callable[[Operator], "str | None"]


def operators(path: str) -> list[Operator]:
    """Read a file's operators; raises RuntimeError for a file of several graphs."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(path)
    if len(model.subgraphs) != 1:
        raise RuntimeError("the .tflite file has %d graphs, and the Edge TPU takes one" % len(model.subgraphs))
    graph = model.subgraphs[0]
    kinds = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    tensors = []
    for each in graph.tensors:
        data = model.buffers[each.buffer].data
        kind, shape = kinds[each.type], [] if each.shape is None else [int(size) for size in each.shape]
        value = None
        if data is not None and len(data):
            value = np.asarray(data, np.uint8).view(kind.lower()) if kind.lower() in np.sctypeDict else data
        tensors.append(Tensor((each.name or b"").decode(), shape, kind, value))
    found = []
    for each in graph.operators:
        inputs = [tensors[place] for place in each.inputs if place >= 0]
        outputs = [tensors[place] for place in each.outputs]
        name = flatbuffer_utils.opcode_to_name(model, each.opcodeIndex) or "CUSTOM"
        found.append(Operator(name, vars(each.builtinOptions) if each.builtinOptions else {}, inputs, outputs))
    return found


def placed(found: list[Operator]) -> Iterator[Placed]:
    """Hold each operator against the rules."""
    for each in found:
        reasons = (broken(each) for broken in (_known, _in_int8, _three_inner_dimensions, RULES.get(each.name, _fits)))
        yield Placed(each, next((reason for reason in reasons if reason is not None), None))


def _known(one: Operator) -> str | None:
    return None if one.name in RULES else "the chip has no such operation"


def _in_int8(one: Operator) -> str | None:
    wrong = [each for each in (*one.inputs, *one.outputs) if each.value is None and each.kind not in INT8]
    return "its values are %s and not 8-bit integers" % wrong[0].kind.lower() if wrong else None


def _three_inner_dimensions(one: Operator) -> str | None:
    for each in (*one.inputs, *one.outputs):
        if each.value is None and any(size > 1 for size in each.shape[:-3]):
            shape = "x".join(map(str, each.shape))
            return "a tensor of %s has more than three dimensions above 1; if one is the batch, give --batch 1" % shape
    return None


def _fits(one: Operator) -> str | None:
    return None


def _no_activation(one: Operator) -> str | None:
    return "it has an activation fused to it" if one.options.get("fusedActivationFunction", 0) else None


def _equal_dilation(one: Operator) -> str | None:
    height, width = (one.options.get("dilation%sFactor" % side, 1) for side in "HW")
    return None if height == width else "its dilation differs in height and width: %d and %d" % (height, width)


def _concatenation(one: Operator) -> str | None:
    constants = [each for each in one.inputs if each.value is not None]
    if constants and (len(one.inputs) != 2 or any(each.value.any() for each in constants)):
        return "it joins a constant that is not all zeros, or more than one other tensor to a constant"
    return _no_activation(one)


def _fully_connected(one: Operator) -> str | None:
    if one.options.get("weightsFormat", 0):
        return "its weights have another than the default format"
    rows = [size for size in one.outputs[0].shape[:-1] if size > 1]
    return "its output has %s rows, and the chip takes one" % "x".join(map(str, rows)) if rows else None


def _reduction(one: Operator) -> str | None:
    shape = one.inputs[0].shape
    axes = {int(axis) % len(shape) for axis in one.inputs[1].value} if one.inputs[1].value is not None else None
    if axes is None:
        return "the axes that it reduces are computed"
    if 0 in axes and len(shape) > 1:
        return "it reduces the batch"
    if one.name == "MEAN" and len(shape) - 1 in axes and shape[-1] % MEAN:
        return "it reduces a last dimension of %d, no multiple of %d" % (shape[-1], MEAN)
    return None


def _not_in_batch(one: Operator) -> str | None:
    if one.name == "PAD":
        batch = len(one.outputs[0].shape) == 4 and one.outputs[0].shape[0] != one.inputs[0].shape[0]
    else:
        batch = one.options.get("axis", -1) == 0
    return "it changes the batch" if batch else None


def _softmax(one: Operator) -> str | None:
    sizes = [size for size in one.inputs[0].shape if size > 1]
    if len(sizes) > 1:
        return "its input has %d dimensions above 1, and the chip takes one" % len(sizes)
    return "its input has %d elements, and the chip takes %d" % (sizes[0], SOFTMAX) if sizes[:1] > [SOFTMAX] else None


def _squeeze(one: Operator) -> str | None:
    inner = one.inputs[0].shape[-3:]
    first = next((place for place, size in enumerate(inner) if size > 1), len(inner))
    return "it removes a dimension behind one above 1" if 1 in inner[first:] else None


def _strided_slice(one: Operator) -> str | None:
    strides = one.inputs[3].value if len(one.inputs) > 3 else None
    if strides is None or any(int(each) != 1 for each in strides):
        return "its strides are not all 1"
    return "it adds dimensions" if one.options.get("ellipsisMask") or one.options.get("newAxisMask") else None


def _prelu(one: Operator) -> str | None:
    return "its slopes have more than one dimension above 1" if any(s > 1 for s in one.inputs[1].shape[:-1]) else None


RULES: dict[str, Broken] = {
    "ADD": _fits,
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _equal_dilation,
    "DEPTHWISE_CONV_2D": _equal_dilation,
    "EXPAND_DIMS": _fits,
    "FULLY_CONNECTED": _fully_connected,
    "L2_NORMALIZATION": _fits,
    "LOGISTIC": _fits,
    "MAXIMUM": _fits,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _reduction,
    "MINIMUM": _fits,
    "MUL": _fits,
    "PACK": _not_in_batch,
    "PAD": _not_in_batch,
    "PRELU": _prelu,
    "QUANTIZE": _fits,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RELU": _fits,
    "RELU6": _fits,
    "RELU_N1_TO_1": _fits,
    "RESHAPE": _fits,
    "RESIZE_BILINEAR": _fits,
    "RESIZE_NEAREST_NEIGHBOR": _fits,
    "RSQRT": _fits,
    "SLICE": _fits,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _fits,
    "SPLIT": _not_in_batch,
    "SQUARED_DIFFERENCE": _fits,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _fits,
    "SUM": _reduction,
    "TANH": _fits,
    "TRANSPOSE": _fits,  # since version 16 of the compiler
    "TRANSPOSE_CONV": _fits,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _fits,
}
"""The operations of the page's table by TensorFlow Lite's names, each with its known limitation."""
