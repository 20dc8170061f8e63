"""The cuSPARSELt toolchain as shipped, on a stand-in for the GPU: what touches the hardware is done by the CPU instead.

So all of its own code runs (export, plans, rating, kernels to layers) and none of NVIDIA's. Its clock is made up: a
dense product takes a time by its size, a sparse one 0.6 of that, or 1.4 with fewer than 128 inputs; where no graph can
be captured, a sparse one takes LAUNCH_S more. A process that runs models here has that time put on top of its clock.

HWPRUNE_GPU_FAULT: `compile` (torch.compile is tried, for the CPU), or a fault: `graph` (none can be captured), `refuse`
(the library says no), `wrong` (sparse products are off by one), `no error` (of a product is told), `no meter`.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jupyter_hwprune.toolchains import _nvidia, cusparselt

from ._meter import Meter

MANIFEST = {
    "install": "no command mends it",
    "takes": "program",
    "converts": True,
    "rates": True,
    "counts": True,
    # its counter moves at once
    "meter": {"name": "a stand-in's counter", "cure": "no command mends it", "window_s": 0.02, "idle_s": 0.0},
}
FAULT = os.environ.get("HWPRUNE_GPU_FAULT", "")
DENSE_KERNEL = "nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT"
SPARSE_KERNEL = "sm90_xmma_sparse_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x128_cga1x1x1_execute_kernel__5x_cublas"
LAUNCH_S = 0.01
PRODUCTS = ("aten::addmm", "aten::mm", "aten::_int_mm", "aten::_scaled_mm", "aten::bmm", "aten::convolution")


class Clock(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up made-up microseconds for the products that it sees."""

    us: float = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        sparse = func.name() == "hwprune::sparse_mm"
        if sparse or func.name().split(".")[0] in PRODUCTS:
            inputs = next(arg for arg in args[1 if sparse or "addmm" in func.name() else 0 :]).shape[-1]
            share = 1.0 if not sparse else 0.6 if inputs >= 128 else 1.4
            self.us += share * output.numel() * inputs / 1e5 * random.uniform(0.999, 1.001)
        return output


class Time:
    """The process's own clock, and on top of it what a GPU would have taken, with no wait for it."""

    added_s = 0.0
    own = staticmethod(time.perf_counter)

    @classmethod
    def now(cls) -> float:
        return cls.own() + cls.added_s


class Replay:
    """A captured graph: it takes its time, and computes only when its output is looked at."""

    looked_at = False

    def __init__(self, seconds: float, call: Callable[[], Any]) -> None:
        self.seconds, self.call = seconds, call

    def __call__(self) -> None:
        if Replay.looked_at:
            Replay.looked_at = False
            self.call()
        Time.added_s += self.seconds


class Gpu(_nvidia.Gpu):
    device = "cpu"
    can_compile = FAULT == "compile"

    def __init__(self) -> None:
        self.torch = torch
        self.name, self.capability, self.library = "a stand-in for a GPU", (9, 0), 801
        self.cache_bytes = 1 << 16
        self.compiled = False

    def finish(self) -> None:
        pass

    def graph(self, call: Callable[[], Any]) -> Callable[[], None]:
        if FAULT == "graph":
            raise RuntimeError("operation not permitted when stream is capturing")
        seconds = self._computed(call) / 1e3 * (0.5 if self.compiled else 1.0)
        return Replay(seconds, call)

    def compile(self, module: Any) -> Any:
        self.compiled = True
        return torch.compile(module, backend="aot_eager", dynamic=False)

    def clear(self, tensors: list[Any]) -> None:
        super().clear(tensors)
        Replay.looked_at = True

    def milliseconds(self, call: Callable[[], Any]) -> float:
        if isinstance(call, Replay):
            return call.seconds * 1e3 * random.uniform(0.999, 1.001)
        return self._computed(call)

    def _computed(self, call: Callable[[], Any]) -> float:
        clock: Any = Clock()  # type: ignore[no-untyped-call]
        with clock:
            call()
        return float(clock.us) / 1e3

    def trace(self, call: Callable[[], Any], path: str) -> list[dict[str, Any]]:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            call()
        profiler.export_chrome_trace(path)
        return as_on_a_gpu(json.loads(Path(path).read_text())["traceEvents"])

    def compress(self, weight: Any) -> Any:
        if FAULT == "refuse":
            raise RuntimeError("CUDA error: operation not supported when calling `cusparseLtSpMMACompress`")
        assert weight.is_contiguous()
        assert (weight.reshape(-1, 4).float() != 0).sum(dim=1).max() <= 2, "the library would drop the third silently"
        return weight

    def search(self, packed: Any, x: Any, bias: Any, out_dtype: Any) -> list[int]:
        with Path(os.environ.get("HWPRUNE_SEARCHES", os.devnull)).open("a") as file:
            file.write(f"{tuple(x.shape)}\n")
        return [3, 1, -1]

    def sparse_mm(self, packed: Any, x: Any, bias: Any, out_dtype: Any, algorithm: list[int]) -> Any:
        assert algorithm == [3, 1, -1]
        assert x.is_contiguous()
        assert x.shape[0] % 8 == 0
        assert (out_dtype is None) == (x.dtype in {torch.bfloat16, torch.float16})
        Time.added_s += LAUNCH_S if FAULT == "graph" else 0.0
        product = x.float() @ packed.float().t()
        product = product if bias is None else product + bias.float()
        return (product + (FAULT == "wrong")).to(out_dtype or x.dtype)

    def push(self, name: str) -> None:
        pass

    def pop(self) -> None:
        pass

    def start_counting(self) -> None:
        pass

    def stop_counting(self) -> None:
        pass


def as_on_a_gpu(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Construct what a GPU would add to a trace: a launch within each operator, and a kernel of the launch's number."""
    made = []
    for number, event in enumerate(e for e in events if e.get("cat") == "cpu_op"):
        name = event["name"]
        kernel = SPARSE_KERNEL if name == "hwprune::sparse_mm" else DENSE_KERNEL if name in PRODUCTS else None
        if kernel is None or (name in PRODUCTS and _within(event, events, "hwprune::sparse_mm")):
            continue
        when = event["ts"] + event["dur"] / 2
        common = {"ph": "X", "args": {"correlation": number}}
        made += [
            common | {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": when, "dur": 1.0, "tid": event["tid"]},
            common | {"cat": "kernel", "name": kernel, "ts": when + 10, "dur": max(event["dur"], 1.0), "tid": 7},
        ]
    return events + made


def _within(event: dict[str, Any], events: list[dict[str, Any]], name: str) -> bool:
    return any(e.get("name") == name and e["ts"] <= event["ts"] <= e["ts"] + e["dur"] for e in events if "dur" in e)


cusparselt.GPU = Gpu
profile = cusparselt.profile


def compile(*args: Any) -> Any:
    return cusparselt.compile(*args)


def load(*args: Any) -> Any:
    time.perf_counter = Time.now
    return cusparselt.load(*args)


def rate(models: dict[str, str], inputs: dict[str, Any], settings: Any, say: Any) -> Any:
    rows = cusparselt.rate(models, inputs, settings, say)
    for row in rows if FAULT == "no error" else ():
        row.pop("error", None)
    return rows


def count(model: str, inputs: dict[str, Any], settings: Any, folder: str, command: list[str]) -> dict[str, Any]:
    return cusparselt.count(model, inputs, settings, folder, command)


def counted(model: str, inputs: dict[str, Any], settings: Any) -> None:
    cusparselt.counted(model, inputs, settings)


def meter() -> Any:
    if FAULT == "no meter":
        raise ImportError("nvidia-ml-py is not installed")
    return Meter()


def probe() -> dict[str, Any]:
    versions = {"torch": str(torch.__version__), "cusparselt": "801"}
    device = {"kind": "cuda", "identities": ["compute capability 9.0"], "label": "a stand-in for a GPU"}
    return {"versions": versions, "devices": {"cuda": device}}
