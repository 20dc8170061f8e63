"""ONNX Runtime with a fault planted in one phase, as the environment variable HWPRUNE_FAULT says: `phase:fault`.

A dotted name chooses this module as a toolchain. The worker loads it by its path, so it finds the shipped one by path.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ._meter import Meter

SHIPPED = Path(__file__).parents[2] / "jupyter_hwprune" / "toolchains" / "onnxruntime.py"
spec = importlib.util.spec_from_file_location("shipped", SHIPPED)
assert spec is not None
assert spec.loader is not None
shipped: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shipped)

MANIFEST = {
    "install": "no command mends it",
    "quantises": "pip install a-quantiser",
    "meter": {"name": "a stand-in's counter", "cure": "another device", "window_s": 0.02, "idle_s": 0.0},
}
PHASE, _, FAULT = os.environ.get("HWPRUNE_FAULT", ":").partition(":")


def strike(phase: str) -> None:
    if phase != PHASE:
        return
    if FAULT == "segfault":
        print("the vendor's last word before it dies", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if FAULT == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "exit":
        os._exit(7)
    if FAULT == "raise":
        raise RuntimeError("the vendor's own complaint")
    if FAULT == "hang in the next":
        first = Path(os.environ["HWPRUNE_PID_FILE"] + ".first")
        if not first.exists():
            first.write_text(str(os.getpid()))
    if FAULT == "hang" or (FAULT == "hang in the next" and first.read_text() != str(os.getpid())):
        Path(os.environ["HWPRUNE_PID_FILE"]).write_text(str(os.getpid()))
        time.sleep(600)
    if FAULT == "noise":
        print("x" * 200_000, flush=True)


class Case:
    def __init__(self, inner: Any) -> None:
        self.inner, self.runs = inner, 0

    def run(self) -> None:
        self.runs += 1
        if self.runs == 3:
            strike("measure")
        if METERS:
            strike("energy")
        self.inner.run()

    def finish(self) -> None:
        self.inner.finish()

    def outputs(self) -> list[Any]:
        strike("check")
        outputs: list[Any] = self.inner.outputs()
        if PHASE == "check" and FAULT == "shape":  # of the last layer but two, and of all that comes out of it
            return [o[..., :-1] if o.shape[-1] in {24, 8} else o for o in outputs]
        return [o + 1 for o in outputs] if PHASE == "check" and FAULT == "wrong" else outputs


class Profile:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def run(self) -> None:
        strike("profile")
        self.inner.run()

    def kernels(self) -> list[Any]:
        kernels: list[Any] = self.inner.kernels()
        return kernels


def probe() -> dict[str, Any]:
    strike("probe")
    found: dict[str, Any] = shipped.probe()
    return found


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Any:
    strike("compile")
    return shipped.compile(model, inputs, settings, folder)


def load(artefact: Any, inputs: dict[str, Any], settings: dict[str, Any]) -> Case:
    strike("load")
    return Case(shipped.load(artefact, inputs, settings))


def quantise(model: str, calibration: list[Any], settings: dict[str, Any], folder: str) -> dict[str, Any]:
    strike("quantise")
    raise ImportError("No module named 'a_quantiser'")


METERS: list[Any] = []


def meter() -> Any:
    if FAULT == "no meter":
        raise OSError("this device has no counter")
    METERS.append(Meter())
    return METERS[-1]


def profile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Profile:
    return Profile(shipped.profile(model, inputs, settings, folder))
