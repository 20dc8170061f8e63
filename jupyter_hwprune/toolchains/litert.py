"""LiteRT (TensorFlow Lite's successor) on CPUs, by XNNPACK. Its kernels multiply zeros: the weights are stored dense.

litert-torch converts the ExportedProgram to a .tflite file, which is the same for every CPU. The interpreter's Python
functions list the operators of the file and time none of them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup litert",
    "takes": "program",
    "cross_compiles": True,
    "checks": True,
}
OPS = {
    "CONV_2D": "Conv",
    "DEPTHWISE_CONV_2D": "Conv",
    "CONV_3D": "Conv",
    "TRANSPOSE_CONV": "ConvTranspose",
    "FULLY_CONNECTED": "Gemm",
    "BATCH_MATMUL": "MatMul",
}


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    from ai_edge_litert import interpreter  # noqa: F401 - it has to be importable

    versions = {"litert": version("ai-edge-litert"), "litert-torch": version("litert-torch")}
    return {"versions": versions, "devices": {"CPU": {"kind": "cpu"}}}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Converted:
    return _Converted(model, folder)


def load(artefact: _Converted, inputs: dict[str, Any], settings: Settings) -> _Running:
    return _Running(artefact, settings["threads"])


def interpret(artefact: _Converted, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs on this host's CPU: the file is that of any CPU."""
    return _Running(artefact, settings["threads"]).outputs()


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profile:
    return _Profile(_Converted(model, folder), settings["threads"])


class _Converted:
    """A .tflite file, the inputs that its program was traced with, and its layers' weights by their names."""

    def __init__(self, model: str, folder: str) -> None:
        import litert_torch
        import torch

        program = torch.export.load(model)
        args, kwargs = program.example_inputs
        if kwargs or not all(isinstance(each, torch.Tensor) for each in args):
            raise RuntimeError("litert-torch takes tensors as positional inputs alone")
        converted = litert_torch.convert(program.module(), tuple(args))
        self.path = os.path.join(folder, os.path.splitext(os.path.basename(model))[0] + ".tflite")
        converted.export(self.path)
        self.files = {"tflite": self.path}
        self.inputs = [each.numpy() for each in args]
        self.weights: dict[str, Any] = {
            name.rpartition(".")[0]: value.detach().numpy()
            for name, value in program.state_dict.items()
            if value.ndim > 1
        }


class _Running:
    def __init__(self, converted: _Converted, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.converted = converted
        self.interpreter = Interpreter(converted.path, num_threads=threads)
        self.interpreter.allocate_tensors()
        places = sorted(self.interpreter.get_input_details(), key=_number)
        for place in places:  # litert-torch may narrow 64-bit integers
            value = converted.inputs[_number(place)].astype(place["dtype"])
            self.interpreter.set_tensor(place["index"], value)
        self.results = sorted(self.interpreter.get_output_details(), key=_number)

    def run(self) -> None:
        self.interpreter.invoke()

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""

    def outputs(self) -> list[Any]:
        self.run()
        return [self.interpreter.get_tensor(each["index"]) for each in self.results]


def _number(place: dict[str, Any]) -> int:
    """Return the place of an input or output, which litert-torch writes into its name."""
    found = re.search(r"(?:args|output)_(\d+)", place["name"])
    if found is None:
        raise RuntimeError("LiteRT's file has an input or output of an unknown name: " + place["name"])
    return int(found.group(1))


class _Profile(_Running):
    def __init__(self, converted: _Converted, threads: int) -> None:
        super().__init__(converted, threads)
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        super().run()

    def kernels(self) -> list[Any]:
        """List the file's operators, without times: 0 is below what any clock shows, so none is reported."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(self.converted.path, experimental_op_resolver_type=plain)
        interpreter.allocate_tensors()
        names = {each["index"]: each["name"] for each in interpreter.get_tensor_details()}
        rows = []
        for each in interpreter._get_ops_details():  # noqa: SLF001 - its only list of operators
            op = OPS.get(each["op_name"], "")
            layer = None
            if op:
                read = [place for place in each["inputs"] if place >= 0]
                layer = self._by_value(interpreter, read) or self._by_name(
                    [names[i] for i in (*read[1:], *each["outputs"])]
                )
            kernel = each["op_name"] + " (" + ", ".join(str(kind.__name__) for kind in each["operand_types"][1:2]) + ")"
            row = {"names": [] if layer is None else [layer], "op": op, "kernel": kernel, "sparse": False}
            rows.append(dict(row, us=[0.0] * self.runs))
        return rows

    def _by_value(self, interpreter: Any, read: list[int]) -> str | None:
        """Return the layer whose weight an operator reads as it is."""
        import numpy as np

        for place in read[1:2]:
            value = interpreter.get_tensor(place)
            for layer, weight in self.converted.weights.items():
                if value.shape == weight.shape and np.array_equal(value, weight):
                    return layer
        return None

    def _by_name(self, names: list[str]) -> str | None:
        """Return the layer of the first name that leads to one: the classes and names of its modules, from the root."""
        for name in names:
            for path in re.sub(r";\d*$", "", name).split(";;"):
                fitting = [each for each in self.converted.weights if re.fullmatch(_path_of(each), path.rstrip(";"))]
                if fitting:
                    return max(fitting, key=len)
        return None


def _path_of(layer: str) -> str:
    """Return the pattern of a layer's path in litert-torch's names: Net/Sequential_block/Conv2d_0 for block.0."""
    if not layer:
        return r"[^/]*"
    return r"[^/]*/[^/]*_" + r"(?:\.|/[^/]*_)".join(map(re.escape, layer.split(".")))
