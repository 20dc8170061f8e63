"""A toolchain from outside the package that estimates and runs nothing: a cost of two cycles a weight that is not zero.

What its artefacts compute, ONNX's reference evaluator says. All its numbers are made up.
"""

from __future__ import annotations

import math
import os
from typing import Any

MANIFEST = {
    "install": "no command installs it",
    "runs": False,
    "cross_compiles": True,
    "estimates": "a made-up cost model",
    "checks": True,
}


class Artefact:
    def __init__(self, model: str, folder: str) -> None:
        import onnx
        from onnx import numpy_helper

        self.proto = onnx.load(model)
        weights = {each.name: numpy_helper.to_array(each) for each in self.proto.graph.initializer}
        self.layers = []
        for node in self.proto.graph.node:
            own = [weights[name] for name in node.input if name in weights and weights[name].ndim > 1]
            if own:
                self.layers.append({"names": [node.name], "op": node.op_type, "cost": sum(map(self.cost, own))})
        self.estimate = {"unit": "cycles", "total": sum(each["cost"] for each in self.layers), "layers": self.layers}
        path = os.path.join(folder, os.path.basename(model) + ".cycles")
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(self.estimate["total"]))
        self.files = {"cycles": path}

    def cost(self, weight: Any) -> float:
        return float(2 * (math.prod(weight.shape) - (weight == 0).sum()))


def probe() -> dict[str, Any]:
    import onnx

    return {"versions": {"onnx": onnx.__version__}, "devices": {}, "absent": {"v5e": "no such device is ever here"}}


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Artefact:
    return Artefact(model, folder)


def interpret(artefact: Artefact, inputs: dict[str, Any], settings: dict[str, Any]) -> list[Any]:
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(artefact.proto).run(None, inputs))
