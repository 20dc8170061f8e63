"""IREE on the CPU, and its compiler for Arm CPUs, Vulkan and CUDA, which are not here. It skips no zeros.

The ONNX file goes in, and its nodes' names come out again: they are the locations of the compiler's dispatches, so that
each kernel belongs to its layer. From the ExportedProgram the same compiler would need torch in its environment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import _host, _iree_kernels, _iree_program

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup iree",
    "any_batch": True,
    "cross_compiles": True,
    "checks": True,
    "bound": ("vmfb",),
    "script": """
import iree.runtime as runtime
import numpy as np

threads, path = $threads, "$model".replace(".onnx", ".vmfb")
runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
device = runtime.get_device("local-sync" if threads == 1 else "local-task")
config = runtime.Config(device=device)
module = runtime.load_vm_module(runtime.VmModule.mmap(config.vm_instance, path), config)
outputs = module.main_graph(*np.load("$example").values())
for value in outputs if isinstance(outputs, tuple) else [outputs]:
    print(value.to_host().shape, value.dtype)
""",
}
ABSENT = "IREE compiles for it here; it is timed where the chip is"


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    import iree.compiler
    import iree.runtime  # noqa: F401

    versions = {"iree": version("iree-base-compiler"), "onnx": version("onnx")}
    host = _host.architecture()
    absent = dict.fromkeys((each for each in _iree_program.TARGETS if each != host), ABSENT)
    return {"versions": versions, "devices": {host: {"kind": "cpu"}}, "absent": absent}


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _iree_program.Compiled:
    return _iree_program.compiled(model, settings["device"], settings["batch"], folder)


def load(artefact: _iree_program.Compiled, inputs: dict[str, Any], settings: Settings) -> _Running:
    return _Running(artefact, inputs, settings["threads"])


def interpret(artefact: _iree_program.Compiled, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs by the same program, compiled for this host's CPU."""
    folder = os.path.join(os.path.dirname(artefact.path), "host")
    os.makedirs(folder, exist_ok=True)
    own = _iree_program.compiled(artefact.model, _host.architecture(), settings["batch"], folder)
    return _Running(own, inputs, settings["threads"]).outputs()


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _iree_kernels.Profile:
    own = _iree_program.compiled(model, settings["device"], settings["batch"], folder, phases=True)
    return _iree_kernels.Profile(own, inputs, settings["threads"])


class _Running:
    """A program with its inputs on the device, called without the conversions of the runtime's Python functions."""

    def __init__(self, compiled: _iree_program.Compiled, inputs: dict[str, Any], threads: int) -> None:
        import numpy as np
        from iree import runtime

        self.runtime = runtime
        runtime.flags.parse_flags("--task_topology_group_count=%d" % threads)
        self.device = runtime.get_device(_iree_program.driver(threads))
        config = runtime.Config(device=self.device)
        self.context = runtime.SystemContext(config=config)
        module = runtime.VmModule.mmap(config.vm_instance, compiled.path)
        self.context.add_vm_module(module)
        self.function = module.lookup_function(compiled.function)
        self.results = compiled.outputs
        self.arguments = runtime.VmVariantList(len(compiled.inputs))
        self.kept = [runtime.asdevicearray(self.device, np.asarray(inputs[name])) for name in compiled.inputs]
        for each in self.kept:
            self.arguments.push_ref(each._buffer_view)  # noqa: SLF001 - the runtime's own functions pass this too

    def run(self) -> Any:
        results = self.runtime.VmVariantList(self.results)
        self.context.vm_context.invoke(self.function, self.arguments, results)
        return results

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""

    def outputs(self) -> list[Any]:
        results = self.run()
        views = [results.get_as_object(place, self.runtime.HalBufferView) for place in range(len(results))]
        return [self.runtime.DeviceArray(self.device, view).to_host().copy() for view in views]
