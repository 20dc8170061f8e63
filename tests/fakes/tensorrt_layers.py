"""What the constructed `tensorrt` module makes of an ONNX graph: its fused layers, and which of them are sparse.

The rules are made up: eligible are 2:4 weights of 16 inputs or more, picked those of 32 outputs or more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def layers_of(proto: Any, *, old: bool, allowed: bool) -> list[dict[str, Any]]:
    """Fuse each product with the sums and activations after it; a copy stands before the first convolution."""
    weights = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node)
    layers: list[dict[str, Any]] = []
    fused: set[str] = set()
    for node in proto.graph.node:
        if node.name in fused:
            continue
        nodes = [node]
        while node.op_type in PRODUCTS and len(after := readers.get(nodes[-1].output[0], [])) == 1:
            if not (after[0].op_type == "Relu" or (after[0].op_type == "Add" and after[0].input[1] in weights)):
                break
            nodes.append(after[0])
        fused |= {each.name for each in nodes}
        if node.op_type == "Conv" and not any(layer["copy"] for layer in layers):
            copied = f"Reformatting CopyNode for Input Tensor 0 to {' + '.join(each.name for each in nodes)}"
            layers.append(_layer(copied, [], "Reformat", copy=True))
        layers.append(
            _product(nodes, weights, old, allowed, len(layers)) if node.op_type in PRODUCTS else _plain(node, old)
        )
    return layers


def _plain(node: Any, old: bool) -> dict[str, Any]:
    return _layer(node.name if old else f"__myl_{node.op_type}_myl0", [node], "PointWise" if old else "kgen")


def _product(nodes: list[Any], weights: dict[str, Any], old: bool, allowed: bool, number: int) -> dict[str, Any]:
    conv, weight = nodes[0].op_type.startswith("Conv"), weights.get(nodes[0].input[1])
    name = " + ".join(node.name for node in nodes)
    eligible = sparse = False
    work = 1e4 if weight is None else float(weight.size)
    if weight is not None and nodes[0].op_type != "ConvTranspose":
        transposed = nodes[0].op_type == "Gemm" and any(a.name == "transB" and a.i for a in nodes[0].attribute)
        rows = weight if conv or transposed else weight.T  # [outputs, inputs, ...]
        eligible = allowed and rows.shape[1] >= 16 and rows.shape[1] % 4 == 0 and _is_two_of_four(rows)
        sparse = eligible and rows.shape[0] >= 32
    kind = ("CaskConvolution" if conv else "MatrixMultiply") if old or conv else "gemm"
    layer = _layer(name if old or conv else f"{nodes[0].op_type}_myl0_{number}", nodes, kind)
    return layer | {"fused": name, "eligible": eligible, "sparse": sparse, "ms": (0.6 if sparse else 1.0) * work / 1e4}


def _layer(name: str, nodes: list[Any], kind: str, *, copy: bool = False) -> dict[str, Any]:
    own = [node.name for node in nodes]
    told = {"name": name, "nodes": own, "kind": kind, "copy": copy, "made": nodes[-1].output[0] if nodes else "copy"}
    return told | {"fused": name, "eligible": False, "sparse": False, "ms": 0.002}


def _is_two_of_four(rows: Any) -> bool:
    groups = np.moveaxis(rows, 1, -1).reshape(-1, 4)
    return bool(((groups != 0).sum(axis=1) <= 2).all())
