"""Have a toolchain compile a small model for a device, run it, and compute what torch computes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from .errors import HwpruneError
from .target import TARGETS
from .toolchains import Status
from .toolchains.process import Failure, call, private_folder

WIDTH = 64  # a multiple that every sparse kernel takes
TIMEOUT_S = 300


@dataclass(frozen=True)
class Smoke:
    """Whether a real compilation worked, on which device, how long it took in all in seconds, and what went wrong."""

    toolchain: str
    worked: bool
    device: str
    seconds: float
    said: str


def try_out(status: Status) -> Smoke | None:
    """Try a toolchain on the first device that it found and a target has; None where there is no such device."""
    serving = [
        (target.name, stack)
        for target in TARGETS
        for stack in target.stacks
        if stack.toolchain == status.name and stack.device in status.devices
    ]
    if not serving:
        return None
    target, stack = serving[0]
    start = time.monotonic()
    try:
        worked, said = _compiled(target, status.name)
    except HwpruneError as error:
        worked, said = False, str(error)
    return Smoke(status.name, worked, stack.device, round(time.monotonic() - start, 2), said)


def _compiled(target: str, toolchain: str) -> tuple[bool, str]:
    import torch
    from torch import nn

    from .choice import choose
    from .example import Example
    from .proof import tolerance_of
    from .request import request_for, write_cases

    choice = replace(choose(target, toolchain=toolchain, timeout_s=TIMEOUT_S), obstacle=None).for_model_in("float32")
    tolerance = tolerance_of(choice)
    with private_folder() as folder, torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)).eval()
        example = Example.of(torch.randn(WIDTH, WIDTH))
        cases = write_cases({"dense": model}, example, choice, folder, lambda *_: None, written={})
        request = request_for("prove", choice, folder, cases, timing=None, tolerance=tolerance, profile=False)
        result = call(request, folder, lambda *_: None, threads=1, timeout_s=TIMEOUT_S)
    if isinstance(result, Failure):
        return False, result.reason
    error = max(result["errors"]["dense"])
    said = f"a small model compiled, and its output is torch's within {error:.0e}"
    return error <= tolerance, said if error <= tolerance else f"{said}, which is more than {tolerance:g}"
