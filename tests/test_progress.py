"""The steps that a run shows go forward only, in every form of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.notebook.progress import STEPS, further

HERE = {"target": "cpu", "toolchain": "onnxruntime", "effort": QUICK}
RUNS: dict[str, dict[str, Any]] = {
    "one model": HERE,
    "int8": HERE | {"dtype": "int8"},
    "every runtime": HERE | {"toolchain": "all"},
    "several steps": HERE | {"finetune": lambda _: None, "schedule": "cubic", "steps": 3},
    "a goal": HERE | {"speedup": 1.2},
}


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 8))


@pytest.mark.parametrize("name", RUNS)
def test_the_steps_of_a_run_go_forward_to_the_last_which_is_over_only_at_the_end(name: str) -> None:
    phases: list[str] = []
    hwprune(small(), torch.ones(4, 64), progress=lambda phase, _detail: phases.append(phase), **RUNS[name])
    assert set(phases) <= {phase for step in STEPS for phase in step}  # none that a bar would not know
    shown: list[int] = []
    step: int | None = None
    for phase in phases:
        step = further(step, phase)
        assert step is not None
        shown.append(step)
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (0, len(STEPS) - 1)
    first = shown.index(len(STEPS) - 1)  # of the candidates, not of what is timed beside them
    assert {"compile", "load", "check"} <= set(phases[:first])


def test_the_dense_model_in_other_runtimes_is_no_step_of_its_own() -> None:
    shown: list[int | None] = [None]
    for phase in ("prune", "export", "baseline", "compile", "load", "check", "profile", "measure", "baseline"):
        shown.append(further(shown[-1], phase))
    assert shown == [None, 0, 1, 2, 2, 2, 3, 4, 5, 5]
    assert further(None, "setup") is None
    assert further(3, "recipe") == 3
