"""An ONNX file through IREE's importer and compiler, and a check of what was compiled."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import Any

from ._host import architecture
from ._machine_code import MACHINES, is_elf

CPU = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")
TARGETS = {
    "x86_64": (*CPU, "--iree-llvmcpu-target-triple=x86_64-linux-gnu"),
    "aarch64": (*CPU, "--iree-llvmcpu-target-triple=aarch64-linux-gnu", "--iree-llvmcpu-target-cpu=generic"),
    "vulkan": ("--iree-hal-target-device=vulkan", "--iree-vulkan-target=valhall"),
    "cuda": ("--iree-hal-target-device=cuda", "--iree-cuda-target=sm_87"),
}
SPIRV_MAGIC = 0x07230203
OPTIMISED = "--iree-opt-level=O3"


def driver(threads: int) -> str:
    """Return the runtime's device on a CPU: one thread runs in the caller's, more in a pool."""
    return "local-sync" if threads == 1 else "local-task"


class Compiled:
    """A program for one device; `inputs` are its parameters' names in order, `ops` the ONNX operator of each node."""

    def __init__(self, model: str, path: str, graph: Any) -> None:
        self.model, self.path = model, path
        self.files = {"vmfb": path}
        constants = {each.name for each in graph.initializer}
        self.inputs = [each.name for each in graph.input if each.name not in constants]
        self.outputs = len(graph.output)
        self.function = graph.name
        self.ops = {node.name: node.op_type for node in graph.node}
        self.phases: str | None = None  # the folder of the compiler's intermediate programs, if it was asked for them


def compiled(model: str, device: str, batch: int | None, folder: str, *, phases: bool = False) -> Compiled:
    """Compile an ONNX file; raises RuntimeError with the compiler's first words, or if its file is not what it should.

    `batch` closes an open batch. `phases` also writes the program after each phase of the compiler.
    """
    from iree.compiler.tools.binaries import find_tool

    base = os.path.join(folder, os.path.splitext(os.path.basename(model))[0])
    imported = base + ".mlirbc"
    graph = _imported(model, batch, imported)
    # beside the program for one batch, which may be running
    base += ".any" if any(each.dim_param for value in graph.input for each in _dimensions(value)) else ""
    program = Compiled(model, base + ".vmfb", graph)
    own_cpu = ("--iree-llvmcpu-target-cpu=host",) if device == architecture() else ()
    binaries = base + ".binaries"
    flags = [*TARGETS[device], *own_cpu, OPTIMISED, "--iree-hal-dump-executable-binaries-to=" + binaries]
    if phases:
        program.phases = base + ".phases"
        flags += ["--dump-compilation-phases-to=" + program.phases, "--mlir-print-debuginfo"]
        flags += ["--mlir-elide-elementsattrs-if-larger=8", "--mlir-elide-resource-strings-if-larger=8"]
    command = [find_tool("iree-compile"), imported, "-o", program.path, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the vendor's own program
    os.remove(imported)
    if done.returncode:
        raise RuntimeError("iree-compile: " + _first_error(done.stderr, done.returncode))
    _check(program.path, binaries, device)
    return program


def _imported(model: str, batch: int | None, path: str) -> Any:
    """Write the model as IREE's input, with the names of its nodes as locations; returns its ONNX graph."""
    import onnx
    from iree.compiler import ir
    from iree.compiler.extras import onnx_importer

    proto = onnx.load(model)
    if batch is not None:
        for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
            for each in _dimensions(value):
                if each.dim_param == "batch":
                    each.dim_value = batch
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    info = onnx_importer.ModelInfo(proto)
    module = info.create_module(context=ir.Context()).operation
    onnx_importer.NodeImporter.define_function(info.main_graph, module).import_all()
    with open(path, "wb") as file:
        module.write_bytecode(file)
    return proto.graph


def _dimensions(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def _first_error(said: str, code: int) -> str:
    """Return the compiler's first error, which names the operator; the rest is the program around it."""
    lines = said.strip().splitlines()
    error = next((line for line in lines if "error:" in line), lines[-1] if lines else "ended with code %d" % code)
    return error.partition("error:")[2].strip() or error


def _check(path: str, binaries: str, device: str) -> None:
    """Raise RuntimeError unless the program holds machine code of its device: ELF, SPIR-V or PTX."""
    with open(path, "rb") as file:
        program = file.read()
    names = sorted(os.listdir(binaries)) if os.path.isdir(binaries) else []
    if not names:
        raise RuntimeError("IREE compiled no kernel for " + device)
    for name in names:
        with open(os.path.join(binaries, name), "rb") as file:
            binary = file.read()
        if binary not in program:
            raise RuntimeError("IREE's program does not hold the kernels of " + name)
        if not _is_code(binary, device):
            raise RuntimeError("%s is not machine code for %s" % (name, device))


def _is_code(binary: bytes, device: str) -> bool:
    if device in MACHINES:
        return is_elf(binary, device)
    if device == "vulkan":
        return len(binary) > 20 and len(binary) % 4 == 0 and struct.unpack_from("<I", binary)[0] == SPIRV_MAGIC
    return b".entry" in binary and b".target sm_" in binary  # the text that NVIDIA's driver compiles
