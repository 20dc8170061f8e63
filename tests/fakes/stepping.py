"""A toolchain from outside the package that estimates in steps, as an NPU's kernels do, and runs nothing.

A layer pays for its outputs in 32s and its inputs in 16s, or for moving its weights, whichever is more. All made up.
"""

from __future__ import annotations

import os
from typing import Any

from .estimating import interpret as interpret  # noqa: PLC0414 - part of this toolchain
from .estimating import probe as probe  # noqa: PLC0414

MANIFEST = {
    "install": "no command installs it",
    "runs": False,
    "cross_compiles": True,
    "estimates": "a made-up cost model in steps",
    "checks": True,
}


class Artefact:
    def __init__(self, model: str, folder: str) -> None:
        import onnx

        self.proto = onnx.load(model)
        weights = {each.name: each.dims for each in self.proto.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(self.proto).graph
        shapes = {
            each.name: [place.dim_value for place in each.type.tensor_type.shape.dim]
            for each in (*inferred.value_info, *inferred.output)
        }
        layers = []
        for node in self.proto.graph.node:
            own = next((weights[name] for name in node.input if len(weights.get(name, ())) > 1), None)
            if own is not None:
                area = 1
                for size in shapes[node.output[0]][2:]:
                    area *= size
                layers.append({"names": [node.name], "op": node.op_type, "cost": _cycles(own, area)})
        self.estimate = {"unit": "cycles", "total": 500.0 + sum(each["cost"] for each in layers), "layers": layers}
        path = os.path.join(folder, os.path.basename(model) + ".cycles")
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(self.estimate["total"]))
        self.files = {"cycles": path}


def _cycles(weight: Any, area: int) -> float:
    taps = 1
    for size in weight[2:]:
        taps *= size
    outputs, inputs = -(-weight[0] // 32), -(-weight[1] // 16)
    return float(max(outputs * inputs * taps * area / 2, weight[0] * weight[1] * taps / 8))


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Artefact:
    return Artefact(model, folder)
