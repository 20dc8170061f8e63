"""Where layers measure slower by pruning, one more candidate leaves them dense, and the report says what it brings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jupyter_hwprune import Report, Run, hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.measure import trial
from jupyter_hwprune.measure.job import Here, Job
from jupyter_hwprune.report import Mistake
from tests.networks import cnn

SHORT = Effort(min_rounds=3, max_rounds=3, measure_s=0.1, min_profile_rounds=5, profile_s=0.1, peak_memory=False)
SLOW_LAYER = "1.0"
TIMES_MS = {"dense": 2.0, "control": 2.0, "pruned": 1.0}
OWN_RUN = Here.run


class Times:
    """In the place of a clock: one layer takes five times as long after pruning, and the trial takes `tried_ms`."""

    def __init__(self, tried_ms: float, *, presses: bool = False) -> None:
        self.tried_ms, self.presses = tried_ms, presses
        self.jobs: list[list[str]] = []

    def run(self, place: Here, job: Job, progress: Any, stop: Any = None) -> Any:
        names = [each.name for each in job.cases]
        self.jobs.append(names)
        if self.presses and "tried" in names:
            stop.set()  # as the first interrupt does
        result: Any = OWN_RUN(place, job, progress, stop)
        for name, clocks in result["samples"].items() if isinstance(result, dict) else ():
            own = name.removesuffix("~")
            for values in clocks.values():
                values[:] = [self.tried_ms if own == "tried" else TIMES_MS[own]] * len(values)
        for name, rows in result["kernels"].items() if isinstance(result, dict) and "kernels" in result else ():
            for row in rows:
                slow = any(each.startswith(SLOW_LAYER[0]) for each in row["names"])
                row["us"] = [(50.0 if "pruned" in name and slow else 10.0)] * len(row["us"])
        return result


def run_with(times: Times, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Run:
    monkeypatch.setattr(Here, "run", lambda place, job, progress, stop=None: times.run(place, job, progress, stop))
    monkeypatch.setattr(trial, "TRIAL", SHORT)
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    asked: dict[str, Any] = {"toolchain": "onnxruntime", "pattern": "channel/4", "sparsity": 0.5, "effort": SHORT}
    return hwprune(cnn().eval(), x, **asked | options)


def said_of(report: Report) -> Mistake:
    [found] = [each for each in report.mistakes if each.code == "HWP111"]
    return found


def test_a_layer_that_got_slower_is_tried_dense_and_the_line_is_said_where_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = Times(tried_ms=0.8)
    run = run_with(times, monkeypatch)
    assert times.jobs[-1] == ["dense", "control", "pruned", "tried", "pruned~", "tried~"]  # in turn, in one process
    tried = run.report.tried
    assert tried is not None
    assert tried.layers == (SLOW_LAYER,)
    assert (tried.without.speedup, tried.speed.speedup, tried.gain.speedup) == (2.0, 2.5, 1.25)
    found = said_of(run.report)
    assert found.fix == f"Tried: --dense {SLOW_LAYER} gives 2.50x instead of 2.00x, timed in turn."
    assert found.line is not None
    assert f"--dense {SLOW_LAYER}" in found.line
    assert Report.from_json(run.report.to_json()).tried == tried
    assert run.model.get_parameter("1.0.weight").shape[0] == 24  # the model of the report stays the one asked for
    assert all(path.exists() for path in run.artifacts.values())


def test_what_does_not_help_is_said_without_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = said_of(run_with(Times(1.25), monkeypatch).report)
    assert found.fix == f"Tried: --dense {SLOW_LAYER} does not help: it gives 1.60x and 2.00x without, timed in turn."
    assert found.line is None


def test_an_interrupt_ends_the_trial_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    report = run_with(Times(0.8, presses=True), monkeypatch).report
    assert report.tried is None
    assert report.verdict == "faster"
    assert "a run with that shows" in said_of(report).fix


@pytest.mark.parametrize(
    ("options", "least"),
    [({"finetune": lambda _: None}, 0.0), ({"toolchain": "all"}, 0.0), ({}, 1.0)],
    ids=["after training", "all runtimes", "nothing lost"],
)
def test_nothing_is_tried_where_no_line_would_give_that_model_or_no_time_is_lost(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], least: float
) -> None:
    monkeypatch.setattr(trial, "LEAST", least)
    times = Times(0.8)
    assert run_with(times, monkeypatch, **options).report.tried is None
    assert not any("tried" in names for names in times.jobs)
