"""Arm's Ethos-U NPUs through ExecuTorch: int8 by PT2E, TOSA, and Arm's compiler Vela, which estimates the cycles."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import _ethos_u_program, _ethos_u_tables

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup ethos-u",
    "takes": "program",
    "runs": False,
    "cross_compiles": True,
    "estimates": "Vela",
    "calibrates": True,
    "settles": True,
    "checks": True,
}
ABSENT = "Vela compiles for it here, and jupyter-hwprune does not time an Ethos-U yet"
DEVICES = ("Ethos-U55", "Ethos-U65", "Ethos-U85")


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    for name in ("executorch", "ethosu.vela", "torchao", "tosa_serializer"):
        __import__(name)
    versions = {name: version(name) for name in ("ethos-u-vela", "executorch", "torchao", "tosa-tools")}
    return {"versions": versions, "devices": {}, "absent": dict.fromkeys(DEVICES, ABSENT)}


class _Artefact:
    def __init__(self, program: _ethos_u_program.Quantised, lowered: _ethos_u_program.Lowered, path: str) -> None:
        with open(path, "wb") as file:
            file.write(lowered.executorch)
        self.program = program
        self.files = {"pte": path}
        tables = [_ethos_u_tables.Table.read(folder) for folder in lowered.folders]
        self.estimate = _ethos_u_tables.estimate(tables)
        self.memory = _ethos_u_tables.memory(tables)
        self.remarks = []
        if lowered.on_the_cpu:
            self.remarks.append(
                "On the CPU beside the NPU, which the estimate leaves out: %s." % ", ".join(lowered.on_the_cpu)
            )


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Artefact:
    name = os.path.basename(model)
    program = _ethos_u_program.Quantised(model, settings)
    return _Artefact(program, program.lower(os.path.join(folder, name + ".vela")), os.path.join(folder, name + ".pte"))


def interpret(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs of the quantised graph that was lowered, on this host's CPU."""
    return artefact.program.outputs()
