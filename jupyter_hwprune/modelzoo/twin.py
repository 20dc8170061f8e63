"""Write an ONNX model that arrives pruned, and its dense twin: the same file with every zero weight filled in.

Both files name their nodes as `export` does, so that kernels can be matched to layers. The filled-in values are small
compared with the other weights, so activations keep their size through all layers, but not so small that the processor
slows down (denormal numbers).
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, first_line
from ..export.fitting import LARGE_BYTES
from ..export.onnx import Exported, name_nodes, save
from ..report import Fingerprints
from .weights import WeightOfFile

FILL = 0.01  # of the root mean square of a tensor's other weights


def load(path: Path) -> Any:
    """Read an ONNX file with all its weights, and move every constant to the initializers."""
    import onnx

    try:
        proto = onnx.load(str(path))
        if proto.ByteSize() < LARGE_BYTES:  # onnx.load reads some other files as an empty model
            onnx.checker.check_model(proto)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as an ONNX model: {first_line(error)}. The file is damaged or incomplete: get it "
            "again."
        ) from error
    graph = proto.graph
    for node in [each for each in graph.node if each.op_type == "Constant"]:
        if node.attribute[0].name == "value":
            graph.initializer.append(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)
    constants = {each.name for each in graph.initializer}
    for given in [each for each in graph.input if each.name in constants]:  # old files list their weights as inputs too
        graph.input.remove(given)
    return proto


def opset(proto: Any) -> int:
    return max((each.version for each in proto.opset_import if each.domain in {"", "ai.onnx"}), default=0)


def fix_shapes(proto: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Set the graph's shapes for these inputs, in place; return the known shapes of all values."""
    import onnx

    for given in proto.graph.input:
        shape = given.type.tensor_type.shape
        del shape.dim[:]
        for side in inputs[given.name].shape:
            shape.dim.add().dim_value = side
    del proto.graph.value_info[:]
    for made in proto.graph.output:
        made.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True) if proto.ByteSize() < LARGE_BYTES else proto
    for made, known in zip(proto.graph.output, inferred.graph.output, strict=True):
        made.CopyFrom(known)
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    sides = {each.name: [side.dim_value for side in each.type.tensor_type.shape.dim] for each in values}
    return {name: tuple(shape) for name, shape in sides.items() if all(shape)}


def write_twins(
    proto: Any, weights: Sequence[WeightOfFile], inputs: Mapping[str, np.ndarray], folder: Path
) -> dict[str, Exported]:
    """Write `pruned.onnx` and `dense.onnx` with their inputs; `expect` writes the expected outputs."""
    from onnx import numpy_helper

    owners = {each.value: each.layer for each in weights if each.matrix is not None}
    named = copy.deepcopy(proto)

    def layer_of(node: Any, _: set[str]) -> tuple[str | None, tuple[str, ...]]:
        owner = owners.get(node.output[0])
        return owner, () if owner is None else (owner,)

    names = name_nodes(named.graph, layer_of, lambda _: None)
    np.savez(folder / "inputs.npz", *inputs.values())
    files = {name: folder / f"{name}.onnx" for name in ("pruned", "dense")}
    save(named, files["pruned"])
    random = np.random.default_rng(0)
    zeros = {each.initializer: each.zero for each in weights if each.matrix is not None}
    for initializer in named.graph.initializer:
        if initializer.name in zeros:
            filled = _filled(numpy_helper.to_array(initializer), zeros[initializer.name], random)
            initializer.CopyFrom(numpy_helper.from_array(filled, initializer.name))
    save(named, files["dense"])
    return {
        name: Exported(path, folder / "inputs.npz", folder / f"{name}.expected.npz", tuple(inputs), *names)
        for name, path in files.items()
    }


def prints_of(cases: Mapping[str, Exported]) -> Fingerprints:
    """Return a hash of each model's file, which holds its weights and operations."""
    return Fingerprints(*(_print_of(cases[name].model) for name in ("dense", "pruned")))


def _print_of(path: Path) -> str:
    large = path.with_name(f"{path.name}.data")
    return hashlib.sha256(path.read_bytes() + (large.read_bytes() if large.exists() else b"")).hexdigest()[:16]


def _filled(array: np.ndarray, zero: Any, random: np.random.Generator) -> np.ndarray:
    """Fill the zeros of a weight: floats with small ones of either sign, integers with the smallest step."""
    zeros = array == zero
    signs = random.choice((-1, 1), array.shape)
    if array.dtype.kind == "f":
        others = array[~zeros].astype(np.float64)
        scale = FILL * (float(np.sqrt((others**2).mean())) or 1.0) if others.size else FILL
        return np.where(zeros, signs * random.uniform(0.5, 1.5, array.shape) * scale, array).astype(array.dtype)
    limits = np.iinfo(array.dtype)
    stepped = np.broadcast_to(zero, array.shape).astype(np.int64) + signs
    inside = np.where((stepped < limits.min) | (stepped > limits.max), stepped - 2 * signs, stepped)
    return np.where(zeros, inside, array).astype(array.dtype)
