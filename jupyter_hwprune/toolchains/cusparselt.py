"""torch on an NVIDIA GPU, with 2:4 weights through cuSPARSELt or CUTLASS where a timing says that they win.

What it compiles is a torch ExportedProgram. Each run is a replay of a CUDA graph, of torch.compile's code where that is
faster, so that the cost of starting kernels does not hide the kernels.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from typing import Any

from . import _linear24, _nvidia

INSTALL = "pip install torch, in a build for CUDA (https://pytorch.org/get-started/locally)"
TAKES = "program"

GPU: Callable[[], Any] = _nvidia.Gpu
RATE_ROUNDS = 15
RATE_MS = 2.0  # of one timed block
MOST_COPIES = 8
PRODUCT_TOLERANCE = 2e-2  # 16 bits of output, other orders of summation


def probe() -> dict[str, Any]:
    import torch

    found = _nvidia.found()
    versions = {"torch": str(torch.__version__)}
    if torch.backends.cusparselt.is_available():
        versions["cusparselt"] = str(torch.backends.cusparselt.version())
    return dict(found, versions=versions)


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> _Running:
    return _Running(_Program(model, settings))


def profile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> _Profiled:
    return _Profiled(_Program(model, settings), os.path.join(folder, "trace.json"))


def count(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> None:
    """Run once, layer by layer in NVTX ranges, while Nsight Compute looks on."""
    program = _Program(model, settings)
    for _ in range(3):
        program.layer_by_layer()
    program.gpu.finish()
    program.gpu.start_counting()
    program.layer_by_layer()
    program.gpu.finish()
    program.gpu.stop_counting()


def meter() -> Any:
    return _nvidia.Meter()


def rate(models: dict[str, str], inputs: dict[str, Any], settings: dict[str, Any], say: Any) -> list[dict[str, Any]]:
    """Time each layer of settings["layers"] by itself on its own input, dense against sparse.

    Each answer has the layer, its rows, the plans for compile(), and paired samples in microseconds with the dense
    layer made twice; or, where no sparse kernel takes the layer, why.
    """
    dense = _Program(models["dense"], dict(settings, sparse=[], plans={}))
    pruned = _Program(models["pruned"], dict(settings, sparse=[], plans={}))
    rater = _Rater(dense.gpu, settings)
    found: list[dict[str, Any]] = []

    def at_layer(layer: str, x: Any) -> None:
        if layer in settings["layers"] and layer not in [row["layer"] for row in found]:
            say("rate", layer)
            found.append(dict(rater.rate(dense.weights(layer), pruned.weights(layer), x), layer=layer))

    dense.layer_by_layer(at_layer)
    return found


class _Program:
    """An exported program on the GPU; in it, layers of settings["sparse"] are sparse, by settings["plans"]."""

    def __init__(self, path: str, settings: dict[str, Any]) -> None:
        import torch
        from torch.export.passes import move_to_device_pass
        from torch.utils import _pytree as pytree

        self.pytree, self.gpu = pytree, GPU()
        self.torch: Any = torch
        program = move_to_device_pass(torch.export.load(path), self.gpu.device)
        args, kwargs = program.example_inputs
        self.args, self.kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(self.gpu.device), (args, kwargs))
        self.module: Any = program.module()
        self.layers: dict[Any, str] = {}  # node -> the torch layer whose weight it reads
        with torch.no_grad():
            self._place_kernels(settings)

    def _place_kernels(self, settings: dict[str, Any]) -> None:
        torch, graph = self.torch, self.module.graph
        eight = settings["dtype"] in _linear24.LARGEST
        for node in list(graph.nodes):
            if node.op == "call_module" and node.target == "_guards_fn":  # the input is always the one it was made from
                graph.erase_node(node)
                continue
            layer = _layer_of(node)
            if layer is None:
                continue
            self.layers[node] = layer
            sparse = layer in settings["sparse"]
            if node.target is not torch.ops.aten.linear.default or not (
                sparse or (eight and layer in settings["layers"])
            ):
                continue
            plans = settings["plans"].get(layer, {})
            plan = plans.get("sparse" if sparse else "dense")
            if plan is None:
                plan = {"way": "cusparselt"} if sparse else _linear24.dense_plans(settings["dtype"])[0]
            own = _linear24.make(self.gpu, settings["dtype"], plan, *self.weights(layer), layer)
            name = f"hwprune_{len(self.layers)}"
            self.module.add_submodule(name, own)
            with graph.inserting_before(node):
                new = graph.call_module(name, (node.args[0],))
            node.replace_all_uses_with(new)
            graph.erase_node(node)
            del self.layers[node]
            self.layers[new] = layer
        self.module.recompile()

    def weights(self, layer: str) -> tuple[Any, Any]:
        """Return the layer's weight and its bias, if any."""
        own = self.module.get_submodule(layer)
        return own.weight.detach(), None if getattr(own, "bias", None) is None else own.bias.detach()

    def __call__(self) -> Any:
        with self.torch.no_grad():
            return self.module(*self.args, **self.kwargs)

    def layer_by_layer(self, at_layer: Callable[[str, Any], None] = lambda *_: None) -> Any:
        """Run node by node, each layer in a range of its name, after `at_layer` was called with its name and input."""
        gpu, layers, torch = self.gpu, self.layers, self.torch

        class Interpreter(torch.fx.Interpreter):  # type: ignore[name-defined,misc]
            def run_node(self, node: Any) -> Any:
                layer = layers.get(node)
                if layer is None:
                    return super().run_node(node)
                at_layer(layer, self.env.get(node.args[0]))
                gpu.push(layer)
                try:
                    with torch.profiler.record_function(_nvidia.SCOPE + layer):
                        return super().run_node(node)
                finally:
                    gpu.pop()

        flat = self.pytree.tree_leaves((self.args, self.kwargs))
        with torch.no_grad():
            return Interpreter(self.module).run(*flat, enable_io_processing=False)


def _layer_of(node: Any) -> str | None:
    """Return the torch layer whose weight a node reads, by the name under which the program holds that weight."""
    if node.op != "call_function":
        return None
    for value in node.all_input_nodes:
        module, _, own = str(value.target).rpartition(".") if value.op == "get_attr" else ("", "", "")
        if own == "weight":
            return module
    return None


class _Running:
    """The program started as fast as can be: as a CUDA graph, of torch.compile's code or of the program as it is."""

    def __init__(self, program: _Program) -> None:
        self.program = program
        self.files: dict[str, str] = {}
        program()
        eager_ms = self._milliseconds(program)
        ways: list[tuple[float, str, Callable[[], Any]]] = [(eager_ms, "kernel by kernel", program)]
        self.refused: list[str] = []
        for way, call in (("a CUDA graph", program), ("a CUDA graph of torch.compile's code", self._compiled())):
            if call is None:
                continue
            try:
                replay = program.gpu.graph(call)
                ways.append((self._milliseconds(replay), way, replay))
            except Exception as error:  # noqa: BLE001 - whatever hinders a graph, the program runs without it
                self.refused.append(f"{way}: {_first_line(error)}")
        _, way, self.run = min(ways, key=lambda each: each[0])
        self.facts = {"way": way, "eager_ms": round(eager_ms, 6), "refused": self.refused}

    def _compiled(self) -> Callable[[], Any] | None:
        program = self.program
        if not program.gpu.can_compile:
            return None
        try:
            compiled = program.torch.compile(program.module, dynamic=False)
            with program.torch.no_grad():
                compiled(*program.args, **program.kwargs)
        except Exception as error:  # noqa: BLE001 - it needs Triton and a C compiler, and does not take every model
            self.refused.append(f"torch.compile: {_first_line(error)}")
            return None

        def call() -> Any:
            with program.torch.no_grad():
                return compiled(*program.args, **program.kwargs)

        return call

    def _milliseconds(self, call: Callable[[], Any]) -> float:
        times = []
        for _ in range(7):
            self.program.gpu.finish()
            start = time.perf_counter()
            call()
            self.program.gpu.finish()
            times.append((time.perf_counter() - start) * 1e3)
        return sorted(times)[len(times) // 2]

    def finish(self) -> None:
        self.program.gpu.finish()

    def outputs(self) -> list[Any]:
        output = self.program()
        output = dict(output) if hasattr(output, "keys") else output
        tensors = [
            leaf for leaf in self.program.pytree.tree_leaves(output) if isinstance(leaf, self.program.torch.Tensor)
        ]
        return [(t.float() if t.is_floating_point() else t).cpu().numpy() for t in tensors]


class _Profiled:
    """Torch's profiler over the program run layer by layer: each run is one pass, each kernel a sample."""

    def __init__(self, program: _Program, path: str) -> None:
        self.program, self.path = program, path
        self.passes: list[dict[tuple[str | None, str, int], float]] = []
        for _ in range(3):
            program.layer_by_layer()

    def run(self) -> None:
        seen: dict[tuple[str | None, str, int], float] = {}
        for layer, kernel, us in _nvidia.kernels_of(self.program.gpu.trace(self.program.layer_by_layer, self.path)):
            times = sum(1 for key in seen if key[:2] == (layer, kernel))
            seen[layer, kernel, times] = us
        self.passes.append(seen)

    def finish(self) -> None:
        self.program.gpu.finish()

    def kernels(self) -> list[Any]:
        if not self.passes[-1]:
            raise RuntimeError("torch's profiler saw no kernel: CUPTI may be in use by another profiler")
        rows = []
        largest: dict[str | None, float] = {}
        for (layer, _, _), us in self.passes[-1].items():
            largest[layer] = max(us, largest.get(layer, 0.0))
        for key in self.passes[-1]:
            layer, kernel, _ = key
            samples = [seen[key] for seen in self.passes if key in seen]
            samples += [sorted(samples)[len(samples) // 2]] * (len(self.passes) - len(samples))
            product = self.passes[-1][key] == largest[layer] or _nvidia.is_sparse(kernel)
            rows.append(
                {
                    "names": [] if layer is None else [layer],
                    "op": "MatMul" if product else "Elementwise",
                    "kernel": kernel,
                    "sparse": _nvidia.is_sparse(kernel),
                    "us": samples,
                }
            )
        return rows


class _Rater:
    """Times single layers; layers of one shape, dtype and bias are timed once."""

    def __init__(self, gpu: Any, settings: dict[str, Any]) -> None:
        self.gpu, self.dtype = gpu, settings["dtype"]
        self.algorithms = _linear24.Algorithms(gpu, settings.get("cache"))
        self.rated: dict[Any, dict[str, Any]] = {}

    def rate(self, dense: tuple[Any, Any], pruned: tuple[Any, Any], x: Any) -> dict[str, Any]:
        x = x.reshape(-1, x.shape[-1])
        key = (x.shape, dense[0].shape, dense[1] is None)
        if key not in self.rated:
            self.rated[key] = self._rate(dense, pruned, x)
        found = self.rated[key]
        if "refused" in found:
            return found
        return dict(found, error=self._error(found["plans"]["sparse"], pruned, x))

    def _rate(self, dense: tuple[Any, Any], pruned: tuple[Any, Any], x: Any) -> dict[str, Any]:
        outputs, inputs = pruned[0].shape
        rows = {"rows": int(x.shape[0])}
        ways: list[Any] = []
        refused = []
        for plan in _linear24.sparse_plans(self.gpu, self.dtype, outputs, inputs):
            try:
                own = dict(plan, **self._searched(plan, pruned, x))
                ways.append(own)
                self._block(own, pruned, x, copies=1, calls=1)[0]()
            except Exception as error:  # noqa: BLE001 - what the library says no to, a dense kernel does
                ways = [way for way in ways if way["way"] != plan["way"]]
                refused.append("{}: {}".format(plan["way"], _first_line(error)))
        if not ways:
            return dict(
                rows, refused="; ".join(refused) or "this build of torch has neither cuSPARSELt nor CUTLASS for it"
            )
        plan_dense = self._fastest(_linear24.dense_plans(self.dtype), dense, x)
        plan_sparse = self._fastest(ways, pruned, x)
        copies = min(
            MOST_COPIES, 1 + math.ceil(2 * self.gpu.cache_bytes / (dense[0].numel() * dense[0].element_size()))
        )
        once = self._block(plan_dense, dense, x, copies=1, calls=1)[0]
        once()
        calls = max(copies, min(200, int(RATE_MS / max(1e-4, self.gpu.milliseconds(once)))))
        blocks = {
            "dense": self._block(plan_dense, dense, x, copies, calls),
            "control": self._block(plan_dense, dense, x, copies, calls),
            "pruned": self._block(plan_sparse, pruned, x, copies, calls),
        }
        samples: dict[str, list[float]] = {name: [] for name in blocks}
        for number in range(-1, RATE_ROUNDS):
            order = sorted(blocks)
            random.Random(number).shuffle(order)  # noqa: S311 - an order, not a secret
            for name in order:
                run, _ = blocks[name]
                run()
                us = self.gpu.milliseconds(run) / calls * 1e3
                if number >= 0:  # the first round warms up
                    samples[name].append(round(us, 5))
        graphs = all(graphed for _, graphed in blocks.values())
        return dict(rows, samples=samples, plans={"dense": plan_dense, "sparse": plan_sparse}, graphs=graphs)

    def _searched(self, plan: dict[str, Any], pruned: tuple[Any, Any], x: Any) -> dict[str, Any]:
        if plan["way"] != "cusparselt":
            return {}
        torch, (weight, bias) = self.gpu.torch, pruned
        multiple = _linear24.ROWS[self.dtype]
        rows = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[0] % multiple)).contiguous()
        wide = {"int8": torch.int32, "float8": torch.bfloat16}.get(self.dtype)
        if wide is not None:
            rows, weight, bias = (
                _linear24.quantised(rows, self.dtype)[0],
                _linear24.quantised(weight, self.dtype)[0],
                None,
            )
        packed = self.gpu.compress(weight.contiguous())
        return {"algorithm": self.algorithms.find(self.dtype, packed, rows, bias, wide)}

    def _fastest(self, plans: list[dict[str, Any]], weights: tuple[Any, Any], x: Any) -> dict[str, Any]:
        if len(plans) == 1:
            return plans[0]
        times = []
        for number, plan in enumerate(plans):
            try:
                run, _ = self._block(plan, weights, x, copies=1, calls=20)
                run()
                times.append((min(self.gpu.milliseconds(run) for _ in range(5)), number))
            except Exception:  # noqa: BLE001, S112 - the other plan is there for what this GPU does not take
                continue
        return plans[min(times)[1]] if times else plans[0]

    def _block(
        self, plan: dict[str, Any], weights: tuple[Any, Any], x: Any, copies: int, calls: int
    ) -> tuple[Callable[[], Any], bool]:
        """Return `calls` calls of the layer as one, and whether a graph holds them.

        They go round copies of the weight, so that none of it is still in the cache: in a model it would not be either.
        """
        layers = [_linear24.make(self.gpu, self.dtype, plan, weights[0].clone(), weights[1], "") for _ in range(copies)]

        def call() -> None:
            with self.gpu.torch.no_grad():
                for number in range(calls):
                    layers[number % copies](x)

        try:
            return self.gpu.graph(call), True
        except Exception:  # noqa: BLE001 - then its launches are timed with it, on both sides
            self.gpu.finish()
            return call, False

    def _error(self, plan: dict[str, Any], pruned: tuple[Any, Any], x: Any) -> float:
        """Return the largest difference to the float32 product of the same operands, relative to its largest value."""
        with self.gpu.torch.no_grad():
            want = _linear24.reference(self.dtype, pruned[0], pruned[1], x)
            got = _linear24.make(self.gpu, self.dtype, plan, pruned[0], pruned[1], "")(x).float()
            error = float((got - want).abs().max() / want.abs().max().clamp(min=1e-30))
        return min(1e30, error)


def _first_line(error: BaseException) -> str:
    return "{}: {}".format(type(error).__name__, str(error).strip().split("\n")[0][:200])
