"""LiteRT (TensorFlow Lite's successor) on CPUs, by XNNPACK. Its kernels multiply zeros: the weights are stored dense.

litert-torch converts the ExportedProgram to a .tflite file, which is the same for every CPU. The interpreter's Python
functions list the operators of the file and time none of them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ._litert_operators import operators

if TYPE_CHECKING:
    from .contract import Quantised, Settings

MANIFEST = {
    "install": "%hwprune setup litert",
    "takes": "program",
    "in_float32": ("float16", "bfloat16", "float64"),
    "cross_compiles": True,
    "checks": True,
    "quantises": "%hwprune setup litert",
    "deploys": ("tflite",),
    "script": """
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("$model", num_threads=$threads)
run = interpreter.get_signature_runner()
inputs = {f"args_{number}": value for number, value in enumerate(np.load("$example").values())}
given = {name: inputs[name].astype(place["dtype"]) for name, place in run.get_input_details().items()}
for name, value in run(**given).items():
    print(name, value.shape, value.dtype)
""",
}
INT8 = ".int8.tflite"  # after the name of the program's file


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    from ai_edge_litert import interpreter  # noqa: F401 - it has to be importable

    versions = {"litert": version("ai-edge-litert"), "litert-torch": version("litert-torch")}
    return {"versions": versions, "devices": {"CPU": {"kind": "cpu"}}}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> Converted:
    return Converted(model)


def load(artefact: Converted, inputs: dict[str, Any], settings: Settings) -> _Running:
    return _Running(artefact, inputs, settings["threads"])


def interpret(artefact: Converted, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs on this host's CPU: the file is that of any CPU."""
    return _Running(artefact, inputs, settings["threads"]).outputs()


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profile:
    return _Profile(Converted(model), inputs, settings["threads"])


def quantise(model: str, calibration: list[Any], settings: Settings, folder: str) -> Quantised:
    from . import _litert_int8

    return _litert_int8.quantise(Converted(model), calibration)


class Converted:
    """A .tflite file, and its layers' weights by their names.

    It is converted once for all workers that share its folder: that takes seconds, and is always the same.
    """

    def __init__(self, model: str) -> None:
        import torch

        quantised = model.endswith(INT8)
        program = torch.export.load(model[: -len(INT8)] + ".pt2" if quantised else model)
        self.path = model if quantised else os.path.splitext(model)[0] + ".tflite"
        if not os.path.exists(self.path) or os.path.getmtime(self.path) < os.path.getmtime(model):
            _convert(program, self.path)
        self.files = {"tflite": self.path}
        self.weights: dict[str, Any] = {
            name.rpartition(".")[0]: value.detach().numpy()
            for name, value in program.state_dict.items()
            if value.ndim > 1
        }


def _convert(program: Any, path: str) -> None:
    import litert_torch
    import torch

    args, kwargs = program.example_inputs
    if kwargs or not all(isinstance(each, torch.Tensor) for each in args):
        raise RuntimeError("litert-torch takes tensors as positional inputs alone")
    part = os.path.splitext(path)[0] + ".part.tflite"
    litert_torch.convert(program.module(), tuple(args)).export(part)
    os.replace(part, path)


class _Running:
    def __init__(self, converted: Converted, inputs: dict[str, Any], threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(converted.path, num_threads=threads)
        self.interpreter.allocate_tensors()
        values = list(inputs.values())
        for place in self.interpreter.get_input_details():  # litert-torch may narrow 64-bit integers
            self.interpreter.set_tensor(place["index"], values[order_of(place)].astype(place["dtype"]))
        self.results = sorted(self.interpreter.get_output_details(), key=order_of)

    def run(self) -> None:
        self.interpreter.invoke()

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""

    def outputs(self) -> list[Any]:
        self.run()
        return [self.interpreter.get_tensor(each["index"]) for each in self.results]


def order_of(place: dict[str, Any]) -> int:
    """Return the position of an input or output, which litert-torch writes into its name."""
    found = re.search(r"(?:args|output)_(\d+)", place["name"])
    if found is None:
        raise RuntimeError("LiteRT's file has an input or output of an unknown name: " + place["name"])
    return int(found.group(1))


class _Profile(_Running):
    def __init__(self, converted: Converted, inputs: dict[str, Any], threads: int) -> None:
        super().__init__(converted, inputs, threads)
        self.converted = converted

    def kernels(self) -> list[Any]:
        """List the file's operators, without times."""
        return [
            {
                "names": [] if each.layer is None else [each.layer],
                "op": each.op,
                "kernel": each.name + " (" + ", ".join(each.kinds[1:2]) + ")",
                "sparse": False,
                "int8": bool(each.op) and each.kinds[:2] == ["int8", "int8"],
                "us": None,
            }
            for each in operators(self.converted.path, self.converted.weights)
        ]
