"""An ONNX file through TVM's importer and compiler, with the layer of each kernel, and a check of what was compiled."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

from ._host import architecture
from ._machine_code import HEADER_BYTES, is_elf
from ._tvm_tuning import Kept

if TYPE_CHECKING:
    from .contract import Settings

ARM = "aarch64"
CROSS = "aarch64-linux-gnu-gcc"
MOVES = ("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze")  # of a weight, before its layer reads it
UNTUNED = (
    "Untuned: TVM compiled every kernel by its default schedule, on one thread. Compare these times with each other, "
    "never with those of a tuned model or of another toolchain."
)
CURE = " --tune-kernels SECONDS tunes both models."
TUNED = (
    "Tuned: MetaSchedule has tried %s of each of the model's %d kernels here, on %s. Dense and pruned had as many "
    "seconds for each kernel; compare these times with those of tuned models only."
)
NONE_RAN = " %d of them keep the default schedule: none that was tried ran."
NO_LINKER = "The kernels are object files in an archive, not linked, since there is no %s here. Cure: apt install %s"


class Call(NamedTuple):
    """A call of a kernel: the ONNX nodes whose weights it reads, their operator, and TVM's types of its tensors."""

    kernel: str
    nodes: list[str]
    op: str
    tensors: list[Any]


class Compiled:
    """A program for one device, with its calls in order; `shapes` are arguments after its inputs.

    `said` tells how they were scheduled.
    """

    def __init__(
        self, model: str, executable: Any, inputs: list[str], shapes: list[Any], calls: list[Call], said: str
    ) -> None:
        self.model, self.executable, self.inputs, self.shapes, self.calls = model, executable, inputs, shapes, calls
        self.files: dict[str, str] = {}
        self.remarks = [said]


class Read:
    """An ONNX file as a program with kernels: its `main`, and the values of main's parameters after the inputs.

    `origins` are the initialisers that each of these parameters is computed from.
    """

    def __init__(self, graph: Any, main: Any, inputs: list[str], weights: list[Any], origins: list[set[str]]) -> None:
        self.graph, self.main, self.inputs, self.weights, self.origins = graph, main, inputs, weights, origins


def compiled(model: str, device: str, settings: Settings, folder: str) -> Compiled:
    """Compile an ONNX file, tuned with temporary files in `folder`.

    Raises the importer's error, which names the operator that it lacks.
    """
    import tvm
    from tvm.relax import transform

    tuned = settings["tune_s"] > 0
    here = device == architecture() and not settings["rpc"]
    target = target_of(device, settings["threads"] if tuned else None, here=here)
    read, said = read_model(model, device, target), UNTUNED + (CURE if here else "")
    if tuned:
        read, said = _scheduled(read, target, settings, folder)
    with target:
        # bound last: until then a kernel's weights are known by their names
        given = read.main["main"].params[len(read.inputs) :]
        named = dict(zip([each.name for each in given], read.origins))
        calls = _calls(read.main["main"], named, read.graph)
        values = dict(zip(given, read.weights))
        shapes = [each for each in values.values() if not hasattr(each, "numpy")]  # which cannot be bound
        bound = {each: of for each, of in values.items() if hasattr(of, "numpy")}
        executable = tvm.compile(transform.BindParams("main", bound)(read.main), target=target)
    return Compiled(model, executable, read.inputs, shapes, calls, said)


def read_model(model: str, device: str, target: Any) -> Read:
    """Read an ONNX file and fuse its operators into kernels; a weight that is moved first is moved once, here."""
    import onnx
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    proto = onnx.load(model)
    module = from_onnx(proto, keep_params_in_input=True, sanitize_input_names=False)
    module, parameters = relax.frontend.detach_params(module)
    names = [each.name for each in module["main"].params]
    count = int(module["main"].attrs["num_input"])
    origins = [{each} for each in names[count:]]
    main, weights, origins = _lifted(module, list(parameters.get("main", [])), origins)
    with target:
        return Read(proto.graph, relax.get_pipeline("zero")(main), names[:count], weights, origins)


def free_layouts(read: Read, target: Any) -> Any:
    """Mark the weights, which a schedule may lay out anew; these are the kernels that are tuned."""
    from tvm.relax import transform

    with target:
        return transform.AttachAttrLayoutFreeBuffers()(read.main)


def _scheduled(read: Read, target: Any, settings: Settings, folder: str) -> tuple[Read, str]:
    """Give each kernel the fastest schedule that is known for it, and its weights the layout of that schedule."""
    import tvm
    from tvm.relax import transform
    from tvm.s_tir import meta_schedule as ms

    kept, main = Kept(target, settings, folder), free_layouts(read, target)
    known = [kept.name_of(each.dispatched[0]) for each in ms.relax_integration.extract_tasks(main, target)]
    with target, kept.database:
        passes = (transform.MetaScheduleApplyDatabase(), transform.SplitLayoutRewritePreproc())
        main = tvm.transform.Sequential(list(passes))(main)
    main, weights, origins = _lifted(main, read.weights, read.origins)
    trials = [kept.trials(each) for each in known]
    least, most = min(trials, default=0), max(trials, default=0)
    threads = settings["threads"]
    said = TUNED % (
        "%d schedules" % most if least == most else "%d to %d schedules" % (least, most),
        len(known),
        "1 thread" if threads == 1 else "%d threads" % threads,
    )
    lacking = [each for each in known if not kept.has_schedule(each)]
    return Read(read.graph, main, read.inputs, weights, origins), said + (NONE_RAN % len(lacking) if lacking else "")


def _lifted(module: Any, values: list[Any], origins: list[set[str]]) -> tuple[Any, list[Any], list[set[str]]]:
    """Compute what depends on the parameters alone, such as a transposition; return the rest, which takes the results.

    `values` and `origins` are those of the parameters after the inputs, and those returned of the results.
    """
    import tvm
    from tvm import relax
    from tvm.relax import transform

    own = target_of(architecture())
    module = tvm.transform.Sequential([transform.CanonicalizeBindings(), transform.LiftTransformParams()])(module)
    (lifted,) = [each for each in module.get_global_vars() if each.name_hint.endswith("transform_params")]
    once, main = tvm.IRModule(dict(module.functions)), tvm.IRModule(dict(module.functions))
    del once["main"], main[lifted]
    names = [str(each) for each in range(len(values))]
    from_ = [set().union(*(origins[int(name)] for name in each)) for each in _origins(module[lifted], names)]
    with own:
        program = tvm.compile(relax.get_pipeline("zero")(once), target=own)
    return main, list(relax.VirtualMachine(program, tvm.cpu())[lifted.name_hint](values)), from_


def write(program: Compiled, device: str, folder: str) -> None:
    """Write the library and check it; where no linker is at hand, an archive of its object files.

    Raises RuntimeError if what was written is no machine code of the device.
    """
    base = os.path.join(folder, os.path.splitext(os.path.basename(program.model))[0] + ".tvm")
    path, lacking = _exported(program.executable, device, base)
    program.remarks += [lacking] if lacking else []
    program.files = {"library": path}
    for name, head in _binaries(path):
        if not is_elf(head, device):
            raise RuntimeError("%s is not machine code for %s" % (name, device))


def write_kernels(program: Compiled, device: str, folder: str) -> str:
    """Write the kernels without the program that calls them."""
    (kernels,) = program.executable.mod.imports
    return _exported(kernels, device, os.path.join(folder, "kernels"))[0]


def _exported(module: Any, device: str, base: str) -> tuple[str, str]:
    """Write a module as a library, or as an archive where no linker is here, and say which is missing."""
    from tvm.support import cc

    own = next((each for each in ("g++", "gcc", "clang") if shutil.which(each)), "g++")
    linker = own if device == architecture() else CROSS
    if shutil.which(linker):
        module.export_library(base + ".so", fcompile=cc.cross_compiler(linker, get_target_triple=lambda: None))
        return base + ".so", ""
    module.export_library(base + ".tar")
    return base + ".tar", NO_LINKER % (linker, "gcc-aarch64-linux-gnu" if linker == CROSS else "g++")


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


def target_of(device: str, threads: int | None = None, *, here: bool = True) -> Any:
    """Return TVM's target: this very CPU, or any of its kind; tuned kernels are for so many threads."""
    import tvm

    if device != architecture() or not here:
        features = {"mattr": ["+neon"]} if device == ARM else {}
        return tvm.target.Target(dict(features, kind="llvm", mtriple=device + "-linux-gnu"))
    cores = {} if threads is None else {"num-cores": threads}
    return tvm.target.Target(dict(cores, kind="llvm", mcpu=tvm.target.codegen.llvm_get_system_cpu()))


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


def _calls(main: Any, origins: dict[str, set[str]], graph: Any) -> list[Call]:
    """Return main's calls of kernels in order."""
    from tvm import relax

    readers, ops = _readers(graph), {node.name: node.op_type for node in graph.node}
    matrices = {each.name for each in graph.initializer if len(each.dims) >= 2}  # equal biases are one initialiser
    seen: dict[str, int] = {}
    calls = []
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
        results = getattr(call.ty_args[0], "fields", call.ty_args)
        tensors = [*(value.ty for value in values), *results]
        calls.append(Call(call.args[0].name_hint, names, ops[names[0]] if names else "", tensors))
    return calls


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
