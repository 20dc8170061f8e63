"""torch on an NVIDIA GPU, with 2:4 weights through cuSPARSELt or CUTLASS for the layers that are timed as faster.

It compiles a torch ExportedProgram. Each run replays a CUDA graph, of torch.compile's code if that is faster, so that
the cost of launching kernels does not hide their own time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _linear24, _nsight, _nvidia, _rate24
from ._layer_nodes import layer_of, product_of

if TYPE_CHECKING:
    from .contract import Settings

MANIFEST = {
    "package": "torch",
    "install": "pip install torch, in a build for CUDA (https://pytorch.org/get-started/locally)",
    "takes": "program",
    "converts": True,
    "rates": True,
    "counts": True,
    "meter": {"name": "NVML's energy counter", "cure": "pip install nvidia-ml-py, where the GPU has such a counter"},
}

GPU: Callable[[], Any] = _nvidia.Gpu


def probe() -> dict[str, Any]:
    import torch

    found = _nvidia.found()
    versions = {"torch": str(torch.__version__)}
    if torch.backends.cusparselt.is_available():
        versions["cusparselt"] = str(torch.backends.cusparselt.version())
    return dict(found, versions=versions)


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Program:
    program = _Program(model, settings)
    if settings["keep_files"]:
        path = os.path.join(folder, "kernels.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({layer: settings["plans"].get(layer, {}) for layer in settings["sparse"]}, file, indent=1)
        program.files = {"kernels": path}
    return program


def load(artefact: _Program, inputs: dict[str, Any], settings: Settings) -> _Running:
    return _Running(artefact, graphs=settings["graphs"])


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profiled:
    return _Profiled(_Program(model, settings), os.path.join(folder, "trace.json"))


def count(model: str, inputs: dict[str, Any], settings: Settings, folder: str, command: list[str]) -> dict[str, Any]:
    return _nsight.count(command, folder, ".".join(map(str, GPU().capability)))


def counted(model: str, inputs: dict[str, Any], settings: Settings) -> None:
    """Run once under Nsight Compute, layer by layer in NVTX ranges."""
    program = _Program(model, settings)
    for _ in range(3):
        program.layer_by_layer()
    program.gpu.finish()
    program.gpu.start_counting()
    program.layer_by_layer()
    program.gpu.finish()
    program.gpu.stop_counting()


meter = _nvidia.Meter


def rate(models: dict[str, str], inputs: dict[str, Any], settings: Settings, say: Any) -> list[dict[str, Any]]:
    """Time each layer of settings["layers"] alone on its own input; "control" is the dense layer compiled again."""
    plain: Any = {**settings, "sparse": [], "plans": {}}
    dense, pruned = (_Program(models[name], plain) for name in ("dense", "pruned"))
    rater = _rate24.Rater(dense.gpu, settings)
    found: list[dict[str, Any]] = []

    def at_layer(layer: str, x: Any) -> None:
        if layer in settings["layers"] and layer not in [row["layer"] for row in found]:
            say("rate", layer)
            found.append(dict(rater.rate(dense.weights(layer), pruned.weights(layer), x), layer=layer))

    dense.layer_by_layer(at_layer)
    return found


class _Program:
    """An exported program on the GPU, in which the layers of settings["sparse"] run as settings["plans"] say."""

    def __init__(self, path: str, settings: Settings) -> None:
        import torch
        from torch.export.passes import move_to_device_pass
        from torch.utils import _pytree as pytree

        self.files: dict[str, str] = {}
        self.pytree, self.gpu = pytree, GPU()
        self.torch: Any = torch
        program = move_to_device_pass(torch.export.load(path), self.gpu.device)
        args, kwargs = program.example_inputs
        self.args, self.kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(self.gpu.device), (args, kwargs))
        self.module: Any = program.module()
        self.layers: dict[Any, str] = {}  # node -> the torch layer whose weight it reads
        self.inputs_first: dict[str, Any] = {}  # layer -> the product that reads its weight [K, N] as it stands
        with torch.no_grad():
            self._place_kernels(settings)

    def _place_kernels(self, settings: Settings) -> None:
        torch, graph = self.torch, self.module.graph
        eight = settings["dtype"] in _linear24.LARGEST
        for node in list(graph.nodes):
            if node.op == "call_module" and node.target == "_guards_fn":  # the input never changes
                graph.erase_node(node)
                continue
            layer = layer_of(node)
            if layer is None:
                continue
            self.layers[node] = layer
            product = product_of(node)
            if product is not None and node.target is not torch.ops.aten.linear.default:
                self.inputs_first[layer] = product
            sparse = layer in settings["sparse"]
            ours = sparse or (eight and layer in settings["layers"])
            if product is None or not ours:
                continue
            plan = settings["plans"].get(layer, {}).get("sparse" if sparse else "dense")
            if plan is None:
                plan = {"way": "cusparselt"} if sparse else _linear24.dense_plans(settings["dtype"])[0]
            name = f"hwprune_{len(self.layers)}"
            self.module.add_submodule(name, _linear24.make(self.gpu, settings["dtype"], plan, *self.weights(layer)))
            with graph.inserting_before(node):
                new = graph.call_module(name, (product[0],))
            self.layers[new] = self.layers.pop(node)
            node.replace_all_uses_with(new)
            graph.erase_node(node)
        self.module.recompile()

    def weights(self, layer: str) -> tuple[Any, Any]:
        """Return the layer's weight [N, K] and its bias, if any."""
        own = self.module.get_submodule(layer)
        bias = None if getattr(own, "bias", None) is None else own.bias.detach()
        if layer in self.inputs_first:
            _, added = self.inputs_first[layer]
            return own.weight.detach().t().contiguous(), bias if added else None
        return own.weight.detach(), bias

    def __call__(self) -> Any:
        with self.torch.no_grad():
            return self.module(*self.args, **self.kwargs)

    def layer_by_layer(self, at_layer: Callable[[str, Any], None] = lambda *_: None) -> Any:
        """Run node by node, each layer in a range of its name; `at_layer` is called first with its name and input."""
        gpu, layers, torch = self.gpu, self.layers, self.torch

        class Interpreter(torch.fx.Interpreter):  # type: ignore[name-defined,misc]
            def run_node(self, node: Any) -> Any:
                layer = layers.get(node)
                if layer is None:
                    return super().run_node(node)
                product = product_of(node)
                at_layer(layer, self.env.get(product[0] if product else node.args[0]))
                gpu.push(layer)
                try:
                    with torch.profiler.record_function(_nvidia.SCOPE + layer):
                        return super().run_node(node)
                finally:
                    gpu.pop()

        flat = self.pytree.tree_leaves((self.args, self.kwargs))
        with torch.no_grad():
            return Interpreter(self.module).run(*flat, enable_io_processing=False)


KERNEL_BY_KERNEL, GRAPH, COMPILED_GRAPH = "kernel by kernel", "a CUDA graph", "a CUDA graph of torch.compile's code"
COMPILED_PAYS = 0.97
_first_way: list[str] = []  # how the first program, the dense one, was started; all others are started the same way


class _Running:
    """The program started in the fastest way: as a CUDA graph, of torch.compile's code if that is faster.

    The first program, the dense one, decides for all: the comparison is between kernels, not ways to start them.
    """

    def __init__(self, program: _Program, *, graphs: bool = True) -> None:
        self.program = program
        self.refused: list[str] = []
        self.left: dict[Any, Any] = {}  # by graph: the output tensors that each replay overwrites
        program()
        wall_ms = program.gpu.wall_milliseconds
        eager_ms = wall_ms(program)
        graph = faster = None
        if graphs and _first_way in ([], [GRAPH]):
            graph = self._graph(GRAPH, program)
        if graphs and _first_way in ([], [COMPILED_GRAPH]):
            compiled = self._compiled()
            faster = compiled and self._graph(COMPILED_GRAPH, compiled)
            if _first_way and not faster:  # torch.compile does not take this one
                graph = self._graph(GRAPH, program)
        if graph and faster and wall_ms(faster) >= COMPILED_PAYS * wall_ms(graph):
            faster = None
        self.run: Callable[[], Any] = faster or graph or program
        way = COMPILED_GRAPH if faster else GRAPH if graph else KERNEL_BY_KERNEL
        _first_way[:] = _first_way or [way]
        self.left = {call: output for call, output in self.left.items() if call is self.run}  # free the other graph's
        self.facts = {"way": way, "eager_ms": round(eager_ms, 6), "refused": self.refused}

    def _graph(self, way: str, call: Callable[[], Any]) -> Callable[[], Any] | None:
        def kept() -> None:
            output[:] = [call()]

        output: list[Any] = []
        try:
            replay: Callable[[], Any] = self.program.gpu.graph(kept)
        except Exception as error:  # noqa: BLE001 - the program runs without a graph, whatever the reason
            self.refused.append(f"{way}: {_nvidia.first_line(error)}")
            return None
        self.left[replay] = output
        return replay

    def _compiled(self) -> Callable[[], Any] | None:
        program = self.program
        if not program.gpu.can_compile:
            return None

        def call() -> Any:
            with program.torch.no_grad():
                return compiled(*program.args, **program.kwargs)

        try:
            compiled = program.gpu.compile(program.module)
            call()
        except Exception as error:  # noqa: BLE001 - it needs Triton and a C compiler, and fails on some models
            self.refused.append(f"torch.compile: {_nvidia.first_line(error)}")
            return None
        return call

    def finish(self) -> None:
        self.program.gpu.finish()

    def outputs(self) -> list[Any]:
        """Clear the outputs and run once more, started as in the timing."""
        left = self.left.get(self.run)
        if left is not None:
            self.program.gpu.clear(self._tensors(left))
        output = self.run()
        tensors = self._tensors(output if left is None else left)
        self.finish()
        return _nvidia.on_host(tensors)

    def _tensors(self, output: Any) -> list[Any]:
        return [leaf for leaf in self.program.pytree.tree_leaves(output) if isinstance(leaf, self.program.torch.Tensor)]


class _Profiled:
    """Torch's profiler on the program, run layer by layer: each run is one pass with one sample per kernel."""

    def __init__(self, program: _Program, path: str) -> None:
        self.program, self.path = program, path
        self.passes: list[dict[Any, float]] = []
        for _ in range(3):
            program.layer_by_layer()

    def run(self) -> None:
        events = self.program.gpu.trace(self.program.layer_by_layer, self.path)
        self.passes.append(_nvidia.numbered(((layer, name), us) for layer, name, us in _nvidia.kernels_of(events)))

    def kernels(self) -> list[Any]:
        if not self.passes[-1]:
            raise RuntimeError("torch's profiler saw no kernel: CUPTI may be in use by another profiler")
        found = [(layer, kernel, us) for ((layer, kernel), _), us in _nvidia.samples_of(self.passes).items()]
        longest: dict[str | None, float] = {}
        for layer, _, us in found:
            longest[layer] = max(longest.get(layer, 0.0), *us)
        named = {layer for layer, kernel, _ in found if _nvidia.is_product(kernel)}
        rows = []
        for layer, kernel, us in found:
            product = _nvidia.is_product(kernel) if layer in named else max(us) == longest[layer]
            row = {"names": [] if layer is None else [layer], "op": "MatMul" if product else "Elementwise"}
            rows.append(dict(row, kernel=kernel, sparse=_nvidia.is_sparse(kernel), us=us))
        return rows
