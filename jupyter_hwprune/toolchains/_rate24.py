"""Time one layer alone on the GPU, dense against 2:4-sparse, and check what it computes.

It runs in the worker: Python 3.8 syntax, torch imported inside functions.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Callable

from . import _linear24, _nvidia

if TYPE_CHECKING:
    from .contract import Settings

ROUNDS = 15
BLOCK_MS = 2.0  # of one timed block
MOST_CALLS = 200  # in it
MOST_COPIES = 256  # of a weight
MOST_COPIED_BYTES = 1 << 30


class Rater:
    """Times single layers; layers of one shape, dtype and bias are timed once."""

    def __init__(self, gpu: Any, settings: Settings) -> None:
        self.gpu, self.dtype = gpu, settings["dtype"]
        self.algorithms = _linear24.Algorithms(gpu, settings.get("cache"))
        self.rated: dict[Any, dict[str, Any]] = {}

    def rate(self, dense: tuple[Any, Any], pruned: tuple[Any, Any], x: Any) -> dict[str, Any]:
        x = x.reshape(-1, x.shape[-1])
        key = (x.shape, dense[0].shape, dense[1] is None)
        if key not in self.rated:
            self.rated[key] = self._rate(dense, pruned, x)
        found = self.rated[key]
        return found if "refused" in found else dict(found, error=self._error(found["plans"]["sparse"], pruned, x))

    def _rate(self, dense: tuple[Any, Any], pruned: tuple[Any, Any], x: Any) -> dict[str, Any]:
        outputs, inputs = pruned[0].shape
        rows = {"rows": int(x.shape[0])}
        ways: list[Any] = []
        refused = []
        for plan in _linear24.sparse_plans(self.gpu, self.dtype, outputs, inputs):
            try:
                own = dict(plan, **self._searched(plan, pruned, x))
                self._block(own, pruned, x)[0]()
                ways.append(own)
            except Exception as error:  # noqa: BLE001 - a dense kernel runs what the library refuses
                refused.append(f"{plan['way']}: {_nvidia.first_line(error)}")
        if not ways:
            none = "this build of torch has neither cuSPARSELt nor CUTLASS for it"
            return dict(rows, refused="; ".join(refused) or none)
        plan_dense = self._fastest(_linear24.dense_plans(self.dtype), dense, x)
        plan_sparse = self._fastest(ways, pruned, x)
        once = self._block(plan_dense, dense, x)[0]
        once()
        copies = self._copies(outputs * inputs)
        calls = max(copies, min(MOST_CALLS, int(BLOCK_MS / max(1e-4, self.gpu.milliseconds(once)))))
        kinds = {"dense": (plan_dense, dense), "control": (plan_dense, dense), "pruned": (plan_sparse, pruned)}
        blocks = {name: self._block(plan, weights, x, copies, calls) for name, (plan, weights) in kinds.items()}
        graphs = all(run is not call for run, call in blocks.values())
        runs = {name: run if graphs else call for name, (run, call) in blocks.items()}  # all alike, or none
        samples: dict[str, list[float]] = {name: [] for name in blocks}
        for number in range(-1, ROUNDS):
            for name in random.Random(number).sample(sorted(blocks), len(blocks)):  # noqa: S311 - no secret
                runs[name]()
                us = self.gpu.milliseconds(runs[name]) / calls * 1e3
                if number >= 0:  # the first round warms up
                    samples[name].append(round(us, 5))
        return dict(rows, samples=samples, plans={"dense": plan_dense, "sparse": plan_sparse}, graphs=graphs)

    def _copies(self, weights: int) -> int:
        """Return how many copies of the weight overflow twice the cache, even in their smaller, sparse form."""
        dense_bytes = weights * (1 if self.dtype in _linear24.LARGEST else 2)
        sparse_bytes = dense_bytes * 9 // 16
        wanted = 1 + math.ceil(2 * self.gpu.cache_bytes / sparse_bytes)
        return int(max(1, min(wanted, MOST_COPIES, MOST_COPIED_BYTES // dense_bytes)))

    def _searched(self, plan: dict[str, Any], pruned: tuple[Any, Any], x: Any) -> dict[str, Any]:
        if plan["way"] != "cusparselt":
            return {}
        torch, (weight, bias) = self.gpu.torch, pruned
        multiple = _linear24.ROWS[self.dtype]
        rows = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[0] % multiple)).contiguous()
        wide = {"int8": torch.int32, "float8": torch.bfloat16}.get(self.dtype)
        if wide is not None:
            rows, weight = (_linear24.quantised(each, self.dtype)[0] for each in (rows, weight))
            bias = None
        packed = self.gpu.compress(weight.contiguous())
        return {"algorithm": self.algorithms.find(self.dtype, packed, rows, bias, wide)}

    def _fastest(self, plans: list[dict[str, Any]], weights: tuple[Any, Any], x: Any) -> dict[str, Any]:
        if len(plans) == 1:
            return plans[0]
        times = []
        for number, plan in enumerate(plans):
            try:
                run = self._block(plan, weights, x, calls=20)[0]
                run()
                times.append((min(self.gpu.milliseconds(run) for _ in range(5)), number))
            except Exception:  # noqa: BLE001, S112 - the other plan is for GPUs that do not support this one
                continue
        return plans[min(times)[1]] if times else plans[0]

    def _block(
        self, plan: dict[str, Any], weights: tuple[Any, Any], x: Any, copies: int = 1, calls: int = 1
    ) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """Return `calls` calls of the layer as one graph if possible, and the calls without a graph.

        They cycle through copies of the weight, so that it is never in the cache: in a model it would not be either.
        """
        layers = [_linear24.make(self.gpu, self.dtype, plan, weights[0].clone(), weights[1]) for _ in range(copies)]

        def call() -> None:
            with self.gpu.torch.no_grad():
                for number in range(calls):
                    layers[number % copies](x)

        try:
            return self.gpu.graph(call), call
        except Exception:  # noqa: BLE001 - without a graph, launches are timed too, on both sides
            self.gpu.finish()
            return call, call

    def _error(self, plan: dict[str, Any], pruned: tuple[Any, Any], x: Any) -> float:
        """Return the largest difference to the float32 product of the same operands, relative to its largest value."""
        with self.gpu.torch.no_grad():
            want = _linear24.reference(self.dtype, pruned[0], pruned[1], x)
            got = _linear24.make(self.gpu, self.dtype, plan, pruned[0], pruned[1])(x).float()
            error = float((got - want).abs().max() / want.abs().max().clamp(min=1e-30))
        return min(1e30, error)
