"""XLA's own compiler for TPUs, which compiles and estimates on any machine; JAX gives it the program's operators."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from . import _xla_cost, _xla_program

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup xla",
    "takes": "program",
    "converts": True,
    "runs": False,
    "cross_compiles": True,
    "estimates": "XLA's compiler for TPUs",
    "checks": True,
}
ABSENT = "XLA compiles for it here, and jupyter-hwprune does not time a TPU yet"


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    jax = _xla_program.start()
    versions = {"jax": jax.__version__, **{name: version(name) for name in ("libtpu", "torchax")}}
    return {"versions": versions, "devices": {}, "absent": dict.fromkeys(_xla_cost.CHIPS, ABSENT)}


class _Artefact:
    def __init__(self, program: _xla_program.Program, compiled: Any, chip: _xla_cost.Chip, path: str) -> None:
        self.program = program
        text = compiled.as_text()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.files = {"hlo": path}
        memory = compiled.memory_analysis()
        self.size_bytes = memory.argument_size_in_bytes - sum(each.nbytes for each in program.inputs)
        moved = memory.argument_size_in_bytes + memory.output_size_in_bytes
        self.estimate: Any = None
        with contextlib.suppress(RuntimeError):  # the text's format changed: the program is compiled all the same
            self.estimate = _xla_cost.estimate(text, _xla_program.SCOPE, program.weight_bytes, moved, chip)


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Artefact:
    jax = _xla_program.start()
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    chip = _xla_cost.CHIPS[settings["device"]]
    device = SingleDeviceSharding(topologies.get_topology_desc(chip.topology, platform="tpu").devices[0])
    program = _xla_program.Program(model)

    def shapes(arrays: list[Any]) -> list[Any]:
        return [jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=device) for each in arrays]

    traced = jax.jit(program.function).trace(shapes(program.states), shapes(program.inputs))
    compiled = traced.lower(lowering_platforms=("tpu",)).compile()
    return _Artefact(program, compiled, chip, os.path.join(folder, os.path.basename(model) + ".hlo.txt"))


def interpret(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs on this host's CPU, by the operators that the TPU's program was compiled from."""
    import numpy as np

    jax = _xla_program.start()
    program = artefact.program
    outputs = jax.jit(program.function)(program.states, program.inputs)
    return [np.asarray(each).astype("float32") if each.dtype.kind == "V" else np.asarray(each) for each in outputs]
