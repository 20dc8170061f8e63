"""An ONNX file through TVM's importer and compiler, with the layer of each kernel, and a check of what was compiled."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from typing import Any

from ._host import architecture
from ._machine_code import HEADER_BYTES, is_elf

ARM = "aarch64"
CROSS = "aarch64-linux-gnu-gcc"
MOVES = ("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze")  # of a weight, before its layer reads it
UNTUNED = (
    "Untuned: TVM compiled every kernel by its default schedule, on one thread. Compare these times with each other, "
    "never with those of a tuned model or of another toolchain."
)
NO_LINKER = "The kernels are object files in an archive, not linked, since there is no %s here. Cure: apt install %s"


class Compiled:
    """A program for one device; `shapes` are arguments after its inputs.

    `kernels` are its calls in order: the function, the ONNX nodes whose weights it reads, and their operator.
    """

    def __init__(self, model: str, executable: Any, inputs: list[str], shapes: list[Any], kernels: list[Any]) -> None:
        self.model, self.executable, self.inputs, self.shapes, self.kernels = model, executable, inputs, shapes, kernels
        self.files: dict[str, str] = {}
        self.remarks = [UNTUNED]


def compiled(model: str, device: str) -> Compiled:
    """Compile an ONNX file; raises the importer's error, which names the operator that it lacks."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax import transform
    from tvm.relax.frontend.onnx import from_onnx

    proto = onnx.load(model)
    module = from_onnx(proto, keep_params_in_input=True, sanitize_input_names=False)
    module, parameters = relax.frontend.detach_params(module)
    target, own = _target(device), _target(architecture())
    names = [each.name for each in module["main"].params]
    count = int(module["main"].attrs["num_input"])
    # what is computed from weights alone, such as a transposition, is computed once, here
    module = tvm.transform.Sequential([transform.CanonicalizeBindings(), transform.LiftTransformParams()])(module)
    (lifted,) = [each for each in module.get_global_vars() if each.name_hint.endswith("transform_params")]
    once, main = tvm.IRModule(dict(module.functions)), tvm.IRModule(dict(module.functions))
    del once["main"], main[lifted]
    main["main"] = main["main"].without_attr("num_input")
    origins = _origins(module[lifted], names[count:])
    with own:
        program = tvm.compile(relax.get_pipeline("zero")(once), target=own)
    weights = relax.VirtualMachine(program, tvm.cpu())[lifted.name_hint](list(parameters.get("main", [])))
    with target:
        main = relax.get_pipeline("zero")(main)
        # bound last: until then a kernel's weights are known by their names
        given = main["main"].params[count:]
        kernels = _kernels(main["main"], dict(zip([each.name for each in given], origins)), proto.graph)
        values = dict(zip(given, weights))
        shapes = [each for each in values.values() if not hasattr(each, "numpy")]  # which cannot be bound
        main = transform.BindParams("main", {each: of for each, of in values.items() if hasattr(of, "numpy")})(main)
        executable = tvm.compile(main, target=target)
    return Compiled(model, executable, names[:count], shapes, kernels)


def write(program: Compiled, device: str, folder: str) -> None:
    """Write the library and check it; where no linker is at hand, an archive of its object files.

    Raises RuntimeError if what was written is no machine code of the device.
    """
    from tvm.support import cc

    own = next((each for each in ("g++", "gcc", "clang") if shutil.which(each)), "g++")
    linker = own if device == architecture() else CROSS
    base = os.path.join(folder, os.path.splitext(os.path.basename(program.model))[0] + ".tvm")
    if shutil.which(linker):
        path = base + ".so"
        program.executable.export_library(path, fcompile=cc.cross_compiler(linker, get_target_triple=lambda: None))
    else:
        path = base + ".tar"
        program.executable.export_library(path)
        package = "gcc-aarch64-linux-gnu" if linker == CROSS else "g++"
        program.remarks.append(NO_LINKER % (linker, package))
    program.files = {"library": path}
    for name, head in _binaries(path):
        if not is_elf(head, device):
            raise RuntimeError("%s is no machine code for %s" % (name, device))


def _binaries(path: str) -> list[tuple[str, bytes]]:
    """Return the first bytes of each file of machine code."""
    if not path.endswith(".tar"):
        with open(path, "rb") as file:
            return [(os.path.basename(path), file.read(HEADER_BYTES))]
    with tarfile.open(path) as archive:
        objects = [each for each in archive.getmembers() if each.name.endswith(".o")]
        if not objects:
            raise RuntimeError("TVM compiled no kernel")
        return [(each.name, (archive.extractfile(each) or io.BytesIO()).read(HEADER_BYTES)) for each in objects]


def _target(device: str) -> Any:
    import tvm

    if device != architecture():
        return tvm.target.Target({"kind": "llvm", "mtriple": device + "-linux-gnu", "mattr": ["+neon"]})
    return tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})


def _bindings(function: Any) -> list[Any]:
    return [binding for block in getattr(function.body, "blocks", ()) for binding in block.bindings]


def _origins(function: Any, names: list[str]) -> list[set[str]]:
    """Return the parameters that each of the function's results is computed from."""
    from tvm import relax

    (whole,) = function.params
    known: dict[Any, set[str]] = {}

    def of(value: Any) -> set[str]:
        if isinstance(value, relax.TupleGetItem) and value.tuple_value.same_as(whole):
            return {names[value.index]}
        if isinstance(value, relax.Var):
            return known.get(value, set())
        parts = value.fields if isinstance(value, relax.Tuple) else getattr(value, "args", ())
        if isinstance(value, relax.TupleGetItem):
            parts = [value.tuple_value]
        return set().union(*(of(part) for part in parts))

    results: Any = None
    for binding in _bindings(function):
        known[binding.var] = of(binding.value)
        if isinstance(binding.value, relax.Tuple):
            results = [of(field) for field in binding.value.fields]
    body = getattr(function.body, "body", function.body)
    return [of(field) for field in body.fields] if isinstance(body, relax.Tuple) else results or []


def _kernels(main: Any, origins: dict[str, set[str]], graph: Any) -> list[tuple[str, list[str], str]]:
    """Return main's calls of kernels in order, each with the nodes that read its weights."""
    from tvm import relax

    readers, ops = _readers(graph), {node.name: node.op_type for node in graph.node}
    matrices = {each.name for each in graph.initializer if len(each.dims) >= 2}  # equal biases are one initialiser
    seen: dict[str, int] = {}
    kernels = []
    for binding in _bindings(main):
        call = binding.value
        if not isinstance(call, relax.Call) or getattr(call.op, "name", "") not in ("relax.call_tir", "call_tir"):
            continue
        values = call.args[1].fields if isinstance(call.args[1], relax.Tuple) else [call.args[1]]
        read = sorted(set().union(*(origins.get(getattr(each, "name", ""), set()) for each in values)))
        names = []
        for origin in [each for each in read if each in matrices] or read:
            nodes = readers.get(origin, [])
            if nodes:  # a weight that several nodes read belongs to them in turn
                names.append(nodes[seen.get(origin, 0) % len(nodes)])
                seen[origin] = seen.get(origin, 0) + 1
        names = list(dict.fromkeys(names))
        kernels.append((call.args[0].name_hint, names, ops[names[0]] if names else ""))
    return kernels


def _readers(graph: Any) -> dict[str, list[str]]:
    """Return the nodes that read each initialiser, also through nodes that only move it."""
    moved = {each.name: each.name for each in graph.initializer}
    readers: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type in MOVES and node.input[0] in moved:
            moved[node.output[0]] = moved[node.input[0]]
            continue
        for each in node.input:
            if each in moved and node.name not in readers.get(moved[each], ()):
                readers.setdefault(moved[each], []).append(node.name)
    return readers
