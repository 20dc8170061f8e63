"""Apache TVM on the CPU, and its compiler for Arm CPUs, which are not here. It skips no zeros.

The ONNX file goes in: TVM's own pipeline took 24 of 26 networks in that form and 20 as ExportedPrograms, which would
also need torch in the environment. Each kernel is timed by the instrument of TVM's virtual machine. Untuned kernels are
several times slower than another runtime's; `tune` has MetaSchedule choose their schedules.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import _host, _tvm_arm, _tvm_program, _tvm_rpc, _tvm_tuning

if TYPE_CHECKING:
    from collections.abc import Callable

    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup tvm",
    "cross_compiles": True,
    "checks": True,
    "tunes": True,
    "reaches": True,
    "bound": ("library",),
}
ABSENT = "TVM compiles for it here; it is timed where the chip is"
BY_QEMU = (
    "The outputs are the Arm library's own, computed by qemu. That shows that it is right, and never how fast it is."
)
ON_BOARD = (
    "The models were compiled here and timed whole by the board's own clock; each layer's kernel was timed there alone."
)
BY_HOST = "The outputs are those of the same program compiled for this CPU, not the Arm library's own: %s. Cure: %s"


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    import onnx  # noqa: F401
    import tvm  # noqa: F401

    host = _host.architecture()
    absent = {} if host == _tvm_program.ARM else {_tvm_program.ARM: ABSENT}
    versions = {"tvm": version("apache-tvm"), "onnx": version("onnx")}
    lacking = _tvm_arm.lacking() if absent else None
    said = "the library is not run here, and the same program for this CPU stands in for it: "
    remarks = [{"about": "TVM's check for Arm", "said": said + lacking[0], "cure": lacking[1]}] if lacking else []
    return {"versions": versions, "devices": {host: {"kind": "cpu"}}, "absent": absent, "remarks": remarks}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _tvm_program.Compiled:
    program = _tvm_program.compiled(model, settings["device"], settings, folder)
    if settings["keep_files"] or settings["rpc"] or settings["device"] != _host.architecture():
        _tvm_program.write(program, settings["device"], folder)
    return program


def tune(models: list[str], settings: Settings, folder: str, say: Callable[[str, str], None]) -> None:
    device = settings["device"]
    target = _tvm_program.target_of(device, settings["threads"])
    read = [_tvm_program.read_model(each, device, target) for each in models]
    _tvm_tuning.tune([_tvm_program.free_layouts(each, target) for each in read], target, settings, folder, say)


def board(settings: Settings) -> dict[str, Any]:
    return _tvm_rpc.board(settings)


def load(artefact: _tvm_program.Compiled, inputs: dict[str, Any], settings: Settings) -> Any:
    if settings["rpc"]:
        artefact.remarks.append(ON_BOARD)
        return _tvm_rpc.Running(artefact, inputs, settings)
    return _Running(artefact, inputs, settings["threads"])


def interpret(artefact: _tvm_program.Compiled, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs by the Arm library under qemu, or else by the same program, compiled for this host's CPU."""
    if settings["device"] == _tvm_program.ARM:
        lacking = _tvm_arm.lacking()
        artefact.remarks.append(BY_HOST % lacking if lacking else BY_QEMU)
        if lacking is None:
            values = [inputs[name] for name in artefact.inputs]
            return _tvm_arm.outputs(artefact.files["library"], values + artefact.shapes)
    own = _tvm_program.compiled(artefact.model, _host.architecture(), settings, "")
    return _Running(own, inputs, settings["threads"]).outputs()


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> Any:
    if settings["rpc"]:
        own = compile(model, inputs, settings, folder)
        return _tvm_rpc.Profile(own, _tvm_program.write_kernels(own, settings["device"], folder), inputs, settings)
    return _Profile(_tvm_program.compiled(model, settings["device"], settings, folder), inputs, settings["threads"])


class _Running:
    def __init__(self, compiled: _tvm_program.Compiled, inputs: dict[str, Any], threads: int) -> None:
        import numpy as np
        import tvm
        from tvm import relax

        tvm.get_global_func("runtime.config_threadpool")(1, threads)
        self.compiled = compiled
        self.machine = relax.VirtualMachine(compiled.executable, tvm.cpu())
        self.main = self.machine["main"]
        self.given = [tvm.runtime.tensor(np.ascontiguousarray(inputs[name])) for name in compiled.inputs]
        self.given += compiled.shapes

    def run(self) -> Any:
        return self.main(*self.given)

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""

    def outputs(self) -> list[Any]:
        found = self.run()
        return [each.numpy() for each in ([found] if hasattr(found, "numpy") else found)]


class _Profile(_Running):
    """The virtual machine calls the instrument before and after each kernel, so its own time is between the clocks."""

    def __init__(self, compiled: _tvm_program.Compiled, inputs: dict[str, Any], threads: int) -> None:
        super().__init__(compiled, inputs, threads)
        self.names = {each.kernel for each in compiled.calls}
        self.started = 0
        self.calls: list[tuple[str, float]] = []
        self.samples: list[list[tuple[str, float]]] = []
        self.machine.set_instrument(self._instrument)

    def _instrument(self, _function: Any, name: str, before: bool, _value: Any, *_arguments: Any) -> int:
        if before:
            self.started = time.perf_counter_ns()
        elif name in self.names:
            self.calls.append((name, (time.perf_counter_ns() - self.started) / 1e3))
        return 0  # go on

    def run(self) -> None:
        self.calls = []
        super().run()
        self.samples.append(self.calls)

    def kernels(self) -> list[Any]:
        compiled = iter(self.compiled.calls)  # of which the virtual machine has dropped reshapes
        rows = []
        for at, (ran, _) in enumerate(self.samples[0]):
            found = next((each for each in compiled if each.kernel == ran), None)
            if found is None:
                raise RuntimeError("TVM ran its kernel " + ran + " out of order")
            us = [calls[at][1] for calls in self.samples]
            rows.append({"names": found.nodes, "op": found.op, "kernel": ran, "sparse": False, "us": us})
        return rows
