"""Compile a small model with a toolchain, run it on a device, and compare its output with torch's."""

import time
from dataclasses import dataclass

from ..core.errors import HwpruneError
from ..core.target import TARGETS
from ..toolchains import Status
from ..toolchains.process import Failure, private_folder

WIDTH = 64  # a multiple that every sparse kernel takes
TIMEOUT_S = 300


@dataclass(frozen=True)
class Smoke:
    """Whether a real compilation worked, on which device, the seconds it took in all, and what was found."""

    toolchain: str
    worked: bool
    device: str
    seconds: float
    said: str


def try_out(status: Status) -> Smoke | None:
    """Try a toolchain on the first device that it found and a target lists; None if there is no such device."""
    pairs = ((target.name, judge) for target in TARGETS for judge in target.judges if judge.toolchain == status.name)
    target, device = next(((name, judge.device) for name, judge in pairs if judge.device in status.devices), ("", ""))
    if not target:
        return None
    start = time.monotonic()
    try:
        worked, said = _compiled(target, status.name)
    except HwpruneError as error:
        worked, said = False, str(error)
    return Smoke(status.name, worked, device, round(time.monotonic() - start, 2), said)


def _compiled(target: str, toolchain: str) -> tuple[bool, str]:
    import torch
    from torch import nn

    from ..choose.choice import choose
    from ..core.example import Example
    from ..export import write_case
    from ..measure.job import HERE, CaseOfJob, measuring_job, tolerance_of

    choice = choose(target, toolchain=toolchain, timeout_s=TIMEOUT_S).for_model_in("float32")
    tolerance = tolerance_of(choice)
    with private_folder() as folder, torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)).eval()
        example = Example.of(torch.randn(WIDTH, WIDTH))
        case = CaseOfJob("dense", write_case(model, example, choice, folder, "dense", lambda *_: None))
        result = HERE.run(measuring_job(choice, folder, [case]), lambda *_: None)
    if isinstance(result, Failure):
        return False, result.reason
    error = max(result["errors"]["dense"])
    said = f"a small model compiled, and its output differs from torch's by {error:.0e}"
    return error <= tolerance, said if error <= tolerance else f"{said}, which is more than {tolerance:g}"
