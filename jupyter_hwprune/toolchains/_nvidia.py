"""Shared by the toolchains for NVIDIA GPUs: the device, its clock, its graphs, its kernel names, its energy counter.

It runs in the worker, so it uses Python 3.8 syntax and imports torch and NVML inside its functions. Only `Gpu` touches
the hardware: tests put a stand-in in its place and run everything else unchanged.
"""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

SPARSE_KERNELS = re.compile(
    r"sparse_gemm|sparse_conv|sparse_fprop|avdt_sparse|spgemm|sptensor|SparseGemm|GemmSparse|SparseMma|spmma",
    re.IGNORECASE,
)
"""Kernels that run on sparse Tensor Cores. Checked against every kernel name in cuSPARSELt 0.7.1, 0.8.0 and 0.10.0 and
in TensorRT 8.6: all of their sparse products match. No kernel of cuBLASLt 13.1 and no `nvjet_*` matches."""

PRODUCT_KERNELS = "gemm|nvjet|cutlass|xmma|wgmma|conv|matmul"

NO_NCU = "Nsight Compute (ncu) is not on the PATH"
INSTALL_NCU = "install Nsight Compute, which the CUDA toolkit brings, and put ncu on the PATH"
NOT_PERMITTED = "this user may not read the GPU's counters"
PERMIT = (
    "run Jupyter as root or with CAP_SYS_ADMIN (a container: --cap-add=SYS_ADMIN), or permit everyone with "
    "`options nvidia NVreg_RestrictProfilingToAdminUsers=0` in /etc/modprobe.d and a reboot"
)
"""https://developer.nvidia.com/ERR_NVGPUCTRPERM"""

SCOPE = "hwprune::"  # prefix of a layer's name in the ranges that profilers show


def is_sparse(kernel: str) -> bool:
    return SPARSE_KERNELS.search(kernel) is not None and "pruning" not in kernel and "compress" not in kernel


def is_product(kernel: str) -> bool:
    """Say whether a kernel's name is that of a matrix product or a convolution."""
    return re.search(PRODUCT_KERNELS, kernel, re.IGNORECASE) is not None


def found() -> dict[str, Any]:
    """Return the contract's `devices` and `absent`, with remarks on the energy meter and hardware counters."""
    import torch

    if not torch.cuda.is_available():
        why = "is built without CUDA" if torch.version.cuda is None else "finds no NVIDIA GPU and driver here"
        return {"devices": {}, "absent": {"cuda": f"torch {torch.__version__} {why}"}}
    properties = torch.cuda.get_device_properties(0)
    label = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    identities = [f"compute capability {properties.major}.{properties.minor}"]
    return {
        "devices": {"cuda": {"kind": "cuda", "identities": identities, "label": label}},
        "absent": {},
        "remarks": [_energy_remark(), counters_remark()],
    }


def _energy_remark() -> dict[str, Any]:
    try:
        Meter().read_mj()
    except Exception as error:  # noqa: BLE001 - this reports a missing library or counter
        return {"about": "energy", "said": f"not measured: {error}", "cure": "pip install nvidia-ml-py"}
    return {"about": "energy", "said": "NVML's energy counter can be read", "cure": None}


def counters_remark(params: str = "/proc/driver/nvidia/params") -> dict[str, Any]:
    """Say whether Nsight Compute is installed, and whether the driver lets this user read the GPU's counters."""
    about = {"about": "counters"}
    if shutil.which("ncu") is None:
        return dict(about, said=NO_NCU, cure=INSTALL_NCU)
    try:
        with open(params, encoding="utf-8") as file:
            restricted = "RmProfilingAdminOnly: 1" in file.read()
    except OSError:
        return dict(about, said="the driver does not say who may read the GPU's counters", cure=None)
    if restricted and os.geteuid() != 0:
        return dict(about, said=NOT_PERMITTED, cure=PERMIT)
    return dict(about, said="Nsight Compute is installed, and this user may read the GPU's counters", cure=None)


class Gpu:
    """The first CUDA device, through torch."""

    device = "cuda"
    can_compile = True  # with torch.compile

    def __init__(self) -> None:
        import torch

        self.torch: Any = torch
        properties = torch.cuda.get_device_properties(0)
        self.name = properties.name
        self.capability = (properties.major, properties.minor)
        self.cache_bytes = int(getattr(properties, "L2_cache_size", 0)) or 64 << 20
        self.library = torch.backends.cusparselt.version() if torch.backends.cusparselt.is_available() else None

    def finish(self) -> None:
        self.torch.cuda.synchronize()

    def wall_milliseconds(self, call: Callable[[], Any]) -> float:
        """Return the median of seven runs of `call` by the host's clock, each including all work that it starts."""
        times = []
        for _ in range(7):
            self.finish()
            start = time.perf_counter()
            call()
            self.finish()
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)

    def graph(self, call: Callable[[], Any]) -> Callable[[], None]:
        """Capture what `call` starts in one CUDA graph and return its replay; raises if it cannot be captured."""
        torch = self.torch
        before = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # libraries allocate workspaces on their first calls, which a graph must not contain
        side.wait_stream(before)
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                call()
        finally:
            torch.cuda.set_stream(before)  # a failed capture would not restore it
            torch.cuda.synchronize()

        def replay() -> None:
            graph.replay()

        replay.keeps = call  # type: ignore[attr-defined]  # keep `call`: the graph reads its tensors in place
        return replay

    def compile(self, module: Any) -> Any:
        return self.torch.compile(module, dynamic=False)

    def clear(self, tensors: list[Any]) -> None:
        """Overwrite the outputs of earlier runs, so that only the next run can write the right values."""
        for tensor in tensors:
            tensor.zero_()

    def milliseconds(self, call: Callable[[], Any]) -> float:
        """Return the device's time between the start and the end of the work that `call` starts."""
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def trace(self, call: Callable[[], Any], path: str) -> list[dict[str, Any]]:
        """Run `call` under torch's profiler and return the events of its Chrome trace."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            call()
            self.finish()
        profiler.export_chrome_trace(path)
        with open(path, encoding="utf-8") as file:
            events: list[dict[str, Any]] = json.load(file)["traceEvents"]
        os.remove(path)
        return events

    def compress(self, weight: Any) -> Any:
        """Pack a contiguous 2:4 weight [N, K]; the result works with this GPU and this library version only."""
        return self.torch._cslt_compress(weight)

    def search(self, packed: Any, x: Any, bias: Any, out_dtype: Any) -> list[int]:
        """Let cuSPARSELt time its kernels on this product; returns [alg_id, split_k, split_k_mode]."""
        found = self.torch._C._cusparselt.mm_search(packed, x.t(), bias, None, out_dtype, True)
        return [int(each) for each in found[:3]]

    def sparse_mm(self, packed: Any, x: Any, bias: Any, out_dtype: Any, algorithm: list[int]) -> Any:
        """Multiply x [M, K], contiguous, by a packed weight [N, K] -> [M, N]; the library does not check either."""
        chosen = dict(zip(("alg_id", "split_k", "split_k_mode"), algorithm))
        return self.torch._cslt_sparse_mm(
            packed, x.t(), bias=bias, out_dtype=out_dtype, transpose_result=True, **chosen
        )

    def push(self, name: str) -> None:
        self.torch.cuda.nvtx.range_push(name)

    def pop(self) -> None:
        self.torch.cuda.nvtx.range_pop()

    def start_counting(self) -> None:
        """Start the part of the program that Nsight Compute profiles."""
        self.torch.cuda.profiler.start()

    def stop_counting(self) -> None:
        self.torch.cuda.profiler.stop()


def kernels_of(events: list[dict[str, Any]]) -> list[tuple[str | None, str, float]]:
    """Return (layer, kernel, microseconds) for each kernel of a Chrome trace, in the order in which they ran.

    A kernel belongs to the innermost range around its launch: Kineto gives kernel and launch the same number.
    """
    ranges = [
        (event["ts"], event["ts"] + event.get("dur", 0), event["name"][len(SCOPE) :])
        for event in events
        if event.get("ph") == "X" and event.get("cat") == "user_annotation" and event["name"].startswith(SCOPE)
    ]
    launches = {
        event["args"]["correlation"]: event["ts"]
        for event in events
        if event.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in event.get("args", {})
    }
    found = []
    for event in sorted((e for e in events if e.get("cat") == "kernel"), key=lambda e: e["ts"]):
        at = launches.get(event["args"].get("correlation"))
        around = [each for each in ranges if at is not None and each[0] <= at <= each[1]]
        layer = max(around)[2] if around else None  # the range that began last; one thread starts them all
        found.append((layer, event["name"], float(event["dur"])))
    return found


def numbered(named: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return values by (name, number), which tells those of one name apart by their order."""
    times: collections.Counter[Any] = collections.Counter()
    found = {}
    for name, value in named:
        found[name, times[name]] = value
        times[name] += 1
    return found


def samples_of(passes: list[dict[Any, float]]) -> dict[Any, list[float]]:
    """Return the times of each key in all passes of a profiler; what did not run in a pass took no time there."""
    return {
        key: [seen.get(key, 0.0) for seen in passes] for key in dict.fromkeys(key for seen in passes for key in seen)
    }


def on_host(tensors: list[Any]) -> list[Any]:
    """Return tensors as numpy arrays, floating-point ones in float32, as numpy has no bfloat16."""
    return [(t.float() if t.is_floating_point() else t).cpu().numpy() for t in tensors]


class Meter:
    """The energy counter (NVML, from Volta on) of torch's first device, in millijoules.

    Raises ImportError without nvidia-ml-py, and NVML's errors if the device has no such counter.
    """

    def __init__(self) -> None:
        try:
            import pynvml  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise ImportError("nvidia-ml-py is not installed") from None
        import torch

        self.nvml = pynvml
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(0).uuid)
        self.device = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else "GPU-" + uuid)

    def read_mj(self) -> float:
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.device))


def first_line(error: BaseException) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line[:200]}"
