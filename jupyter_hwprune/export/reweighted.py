"""Write an ONNX graph that is known with other weights, without converting it again.

Zeroed weights leave a traced graph as it is. They may take the place of the old ones where the file holds those as they
are under their names, or transposed, and nothing else in it was made of them: one product of the traced graph takes the
weight, and one node of the file takes the initializer. A weight that was folded into another value has no such
place, and the model is converted anew.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from torch.export import ExportedProgram

from .remembered import Key, bytes_of

CONVOLUTIONS = {f"{kind}{rank}d" for kind in ("conv", "conv_transpose") for rank in (1, 2, 3)}
PRODUCTS = {"linear", "matmul", "mm", "addmm", "embedding"} | CONVOLUTIONS
"""ATen's operators that a weight goes into as it is, or transposed; of any other, a part may be computed beforehand."""


def reweighted(path: Path, before: Key, key: Key, program: ExportedProgram) -> Any | None:
    """Return the graph in `path`, made of `before`, with the weights of `program`, which are those of `key`.

    Returns None where it cannot be told that this is what a conversion would give.
    """
    import onnx

    held = {**program.state_dict, **program.constants}
    changed = [name for name, digest in key.tensors.items() if digest != before.tensors[name]]
    alike, uses = Counter(before.tensors.values()), _uses(program)
    if any(alike[before.tensors[name]] > 1 or uses[name] not in PRODUCTS for name in changed):
        return None
    proto = onnx.load(str(path))
    readers = Counter(value for node in proto.graph.node for value in node.input)
    readers.update(each.name for each in proto.graph.output)
    shapes = {tuple(held[name].shape) for name in changed}
    named = {each.name: each for each in proto.graph.initializer}
    turned: defaultdict[str, list[Any]] = defaultdict(list)
    for each in proto.graph.initializer:
        if len(each.dims) == 2 and tuple(each.dims)[::-1] in shapes and each.raw_data:
            turned[_digest_transposed(each.raw_data, tuple(each.dims))].append(each)
    for name in changed:
        value, old, place = held[name], before.tensors[name], named.get(name)
        if place is None or hashlib.sha256(place.raw_data).hexdigest() != old:
            if len(turned[old]) != 1:
                return None
            (place,), value = turned[old], value.t()
        if readers[place.name] != 1:
            return None
        place.raw_data = bytes(bytes_of(value))
    return proto


def _uses(program: ExportedProgram) -> dict[str, str]:
    """Return the operators of the traced graph that take each tensor, in one word; one, where there is no space."""
    users = {
        node.name: " ".join(str(user.target).removeprefix("aten.").partition(".")[0] for user in node.users)
        for node in program.graph.nodes
        if node.op == "placeholder"
    }
    specs = program.graph_signature.input_specs
    return {spec.target: users.get(getattr(spec.arg, "name", ""), "") for spec in specs if spec.target is not None}


def _digest_transposed(values: bytes, shape: tuple[int, ...]) -> str:
    """Hash a matrix as its transpose; one of a single value, which equals others by chance, as nothing."""
    matrix = np.frombuffer(values, f"u{len(values) // (shape[0] * shape[1])}").reshape(shape)
    return "" if (matrix == matrix[0, 0]).all() else hashlib.sha256(matrix.T.tobytes()).hexdigest()
