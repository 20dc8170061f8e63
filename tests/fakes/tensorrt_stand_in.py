"""The TensorRT toolchain as shipped, on a constructed `tensorrt` module (tensorrt_api.py) and a stand-in for the GPU.

So all of its own code runs (export, builds, log, inspector, rating, kernels to layers) and none of NVIDIA's.
HWPRUNE_TRT_FAULT plants a fault; beside those of tensorrt_api.py: `missing` (no such package), `no device` (torch finds
no GPU), `graph` (none can be captured). HWPRUNE_CAPABILITY is the device's compute capability, 9.0 unless told.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from jupyter_hwprune.toolchains import _nvidia, tensorrt

from ._meter import Meter

MANIFEST = {
    "install": "pip install tensorrt",
    "converts": True,
    "rates": True,
    "chooses_kernels": True,
    "tells_by_values": True,
    "meter": {"name": "a stand-in's counter", "cure": "no command mends it", "window_s": 0.02, "idle_s": 0.0},
}
FAULT = os.environ.get("HWPRUNE_TRT_FAULT", "")

if FAULT == "missing":
    sys.modules["tensorrt"] = None  # type: ignore[assignment]
else:
    from . import tensorrt_api

    sys.modules["tensorrt"] = tensorrt_api


class Gpu(tensorrt.Gpu):
    device = "cpu"

    def __init__(self) -> None:
        self.torch = torch

    def stream(self) -> int:
        return 7

    def finish(self) -> None:
        pass

    def graph(self, call: Callable[[], Any]) -> Callable[[], None]:
        if FAULT == "graph":
            raise RuntimeError("operation not permitted when stream is capturing")
        call()
        return call


def found() -> dict[str, Any]:
    if FAULT == "no device":
        return {"devices": {}, "absent": {"cuda": "torch finds no NVIDIA GPU and driver here"}}
    capability = os.environ.get("HWPRUNE_CAPABILITY", "9.0")
    device = {"kind": "cuda", "identities": ["compute capability " + capability], "label": "a stand-in for a GPU"}
    return {"devices": {"cuda": device}, "absent": {}}


_nvidia.found = found
tensorrt.GPU = Gpu
probe, profile, compile, load = tensorrt.probe, tensorrt.profile, tensorrt.compile, tensorrt.load


def rate(models: dict[str, str], inputs: dict[str, Any], settings: Any, say: Any) -> Any:
    return tensorrt.rate(models, inputs, settings, say)


def meter() -> Any:
    return Meter()
