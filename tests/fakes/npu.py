"""A toolchain from outside the package, for a device that is neither CPU nor CUDA. It is made of ONNX Runtime."""

from __future__ import annotations

import time
from typing import Any

MANIFEST = {"install": "no command installs it"}


class Artefact:
    def __init__(self, model: str) -> None:
        self.model = model
        self.files: dict[str, str] = {}


class Running:
    """Its runs are over at once and its device is busy after: only `finish` waits for what was started."""

    def __init__(self, artefact: Artefact, inputs: dict[str, Any]) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(artefact.model, providers=["CPUExecutionProvider"])
        self.inputs, self.started = inputs, 0
        self.facts = {"way": "a queue of the device", "eager_ms": None}

    def run(self) -> None:
        self.started += 1

    def finish(self) -> None:
        for _ in range(self.started):
            self.outputs()
        self.started = 0

    def outputs(self) -> list[Any]:
        outputs: list[Any] = self.session.run(None, self.inputs)
        return outputs


class Profiled:
    def __init__(self, running: Running) -> None:
        self.running, self.us = running, []  # type: Running, list[float]

    def run(self) -> None:
        start = time.perf_counter()
        self.running.outputs()
        self.us.append((time.perf_counter() - start) * 1e6)

    def kernels(self) -> list[Any]:
        return [{"names": [], "op": "", "kernel": "the whole model", "sparse": None, "us": self.us}]


def probe() -> dict[str, Any]:
    device = {"kind": "toy npu", "identities": ["toy-1"], "label": "a toy of an NPU"}
    return {"versions": {"npu": "1.0"}, "devices": {"NPU0": device}}


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Artefact:
    return Artefact(model)


def load(artefact: Artefact, inputs: dict[str, Any], settings: dict[str, Any]) -> Running:
    return Running(artefact, inputs)


def profile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Profiled:
    return Profiled(Running(Artefact(model), inputs))
