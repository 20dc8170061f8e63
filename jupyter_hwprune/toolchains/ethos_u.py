"""Arm's Ethos-U NPUs through ExecuTorch: int8 by PT2E, TOSA, and Arm's compiler Vela, which estimates the cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _ethos_u_program as programs
from . import _ethos_u_tables

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
    "deploys": ("pte",),
}
ABSENT = "Vela compiles for it here, and jupyter-hwprune does not time an Ethos-U yet"
GOOD_FOR = (
    "Vela's maker says that its cycles serve the compiler's own decisions and are no accurate performance: for that, "
    "the network has to run on the chip, an FPGA, or Arm's models of it."
)
DEVICES = ("Ethos-U55", "Ethos-U65", "Ethos-U85")


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    for name in ("executorch", "ethosu.vela", "torchao", "tosa_serializer"):
        __import__(name)
    versions = {name: version(name) for name in ("executorch", "torchao", "tosa-tools")}
    versions["ethos-u"] = version("ethos-u-vela")
    return {"versions": versions, "devices": {}, "absent": dict.fromkeys(DEVICES, ABSENT)}


class _Artefact:
    def __init__(self, lowered: programs.Lowered) -> None:
        self.outputs = lowered.outputs
        self.files = {"pte": lowered.path}
        tables = [_ethos_u_tables.Table.read(folder) for folder in lowered.folders]
        self.estimate = _ethos_u_tables.estimate(tables)
        self.memory = _ethos_u_tables.memory(tables)
        self.remarks = [GOOD_FOR]
        if lowered.on_the_cpu:
            left = ", ".join(lowered.on_the_cpu)
            self.remarks.append("On the CPU beside the NPU, which the estimate leaves out: %s." % left)


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Artefact:
    return _Artefact(programs.lower(model, settings, folder))


def interpret(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Return the outputs of the quantised program that was lowered, which this host's CPU computed."""
    import numpy as np

    with np.load(artefact.outputs) as file:
        return [file[key] for key in file.files]
