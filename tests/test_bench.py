"""A bench: candidates in one interleaved call, dense made once, results found again; and jobs that hold no machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError, MismatchError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.measure import bench as bench_module
from jupyter_hwprune.measure.bench import Bench
from jupyter_hwprune.measure.candidates import Candidate
from jupyter_hwprune.measure.job import HERE, Job
from jupyter_hwprune.measure.rating import Settled
from jupyter_hwprune.measure.writing import bench_for, candidate
from jupyter_hwprune.pruning import plan_and_prune
from jupyter_hwprune.report import Timed, Untimed
from jupyter_hwprune.toolchains.process import private_folder
from tests.networks import cnn

SHORT = Effort(min_rounds=5, max_rounds=5, measure_s=0.1, profile=False)
SHARES = (0.25, 0.5, 0.75)
EXAMPLE = Example.of(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))


class Uneven:
    """A place whose first process has clear times, and times of each pruned layer that are too uneven for a verdict."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, job: Job, progress: Any, stop: Any = None) -> Any:
        result: Any = HERE.run(job, progress, stop)
        if not self.jobs:
            result["clear"] = True
            for row in (*result["kernels"]["pruned"], *result["kernels"]["pruned~"]):
                row["us"] = [us * (10 if i % 2 else 0.1) for i, us in enumerate(row["us"])]
        self.jobs.append(job)
        return result

    serve = HERE.serve


class Counting:
    """A place that counts the jobs it passes on."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, job: Job, progress: Any, stop: Any = None) -> Any:
        self.jobs.append(job)
        return HERE.run(job, progress, stop)

    def serve(self, job: Job) -> Any:
        self.jobs.append(job)
        return HERE.serve(job)


@pytest.fixture
def dense() -> nn.Module:
    return cnn().eval()


@pytest.fixture
def bench(dense: nn.Module) -> Iterator[Bench]:
    choice = choose("cpu", toolchain="onnxruntime", pattern="channel/4").for_model_in("float32")
    with private_folder() as folder:
        made = bench_for(dense, EXAMPLE, choice, folder, lambda *_: None, SHORT)
        made.place = Counting()
        yield made


def brought(bench: Bench, dense: nn.Module, shares: tuple[float, ...] = SHARES) -> list[Candidate]:
    pruned = [plan_and_prune(dense, EXAMPLE, Channel(4), share) for share in shares]
    settled = [Settled(each, bench.choice) for each in pruned]
    return [candidate(bench, dense, each, EXAMPLE, f"pruned-{i}") for i, each in enumerate(settled)]


def jobs_of(bench: Bench) -> list[Job]:
    assert isinstance(bench.place, Counting)
    return bench.place.jobs


def test_candidates_share_one_call_and_one_dense_model(bench: Bench, dense: nn.Module) -> None:
    candidates = brought(bench, dense)
    found = bench.measure(candidates)
    (job,) = jobs_of(bench)
    names = ["pruned", "pruned-1", "pruned-2"]
    assert [each.name for each in job.cases] == ["dense", "control", *names, *(f"{name}~" for name in names)]
    timed = [each.timed for each in found]
    assert all(isinstance(each, Timed) for each in timed)
    assert len({each.dense for each in timed if each}) == 1  # the same samples, taken once
    assert len({each.pruned for each in timed if each}) == 3
    assert all(each and len(each.pruned.cpu_ms) == 5 for each in timed)
    sizes = [each.case.model.stat().st_size for each in candidates]
    assert sizes == sorted(sizes, reverse=True)
    assert all(each.check and each.check.pruned_error < 1e-4 for each in found)
    assert [path.name for path in bench.folder.glob("dense*.onnx")] == ["dense.onnx"]


def test_what_was_measured_is_found_again(bench: Bench, dense: nn.Module) -> None:
    candidates = brought(bench, dense)
    first = bench.measure(candidates[:2])
    assert bench.measure(candidates[:2]) == first
    assert len(jobs_of(bench)) == 1
    again = bench.measure(candidates)
    assert again[:2] == first
    assert [each.name for each in jobs_of(bench)[1].cases] == ["dense", "control", "pruned", "pruned~"]


def test_candidates_that_fit_no_process_together_are_portioned(
    bench: Bench, dense: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "TOGETHER_BYTES", 1)
    assert all(each.timed for each in bench.measure(brought(bench, dense)))
    assert len(jobs_of(bench)) == 3


def test_a_wrong_candidate_costs_only_itself(bench: Bench, dense: nn.Module) -> None:
    right, wrong = brought(bench, dense, SHARES[:2])
    with np.load(wrong.case.expected) as file:
        outputs = [file[key] + 1 for key in file.files]
    np.savez(wrong.case.expected, *outputs)
    found = bench.measure([wrong, right])
    assert isinstance(found[0].measurement, Untimed)
    assert "onnxruntime and torch disagree on the pruned model" in (found[0].measurement.evidence.reason or "")
    assert found[1].timed is not None
    alone = Candidate(wrong.case, wrong.layers, "another", channels=True, first_wrong=wrong.first_wrong)
    with pytest.raises(MismatchError, match="disagree on the pruned model"):
        bench.measure([alone])


def test_a_doubt_about_a_layer_is_settled_in_fresh_processes_that_profile_too(bench: Bench, dense: nn.Module) -> None:
    limits = Effort(processes=3, min_rounds=5, max_rounds=5, measure_s=0.1, profile_s=0.1)
    bench.effort = replace(limits, peak_memory=False)
    bench.place = place = Uneven()
    (found,) = bench.measure(brought(bench, dense, SHARES[1:2]))
    assert [job.more["process"] for job in place.jobs] == [0, 1, 2]
    assert all(job.more["effort"]["profile"] for job in place.jobs)
    assert all(each.profiled for job in place.jobs for each in job.cases)
    assert found.timed is not None
    assert len(found.timed.rounds) == 3
    assert all(layer.speed.speedup is not None for layer in found.layers)


def test_a_job_describes_itself_without_this_machine(bench: Bench, dense: nn.Module) -> None:
    bench.measure(brought(bench, dense, SHARES[:1]))
    (job,) = jobs_of(bench)
    described = json.dumps(job.request())
    assert str(bench.folder) not in described
    assert str(Path.home()) not in described
    assert not any(value.startswith("/") for value in texts(job.request()))
    assert job.request()["settings"]["cache"] == ""  # the place knows it


def texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from texts(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from texts(value)


def test_an_effort_that_gives_no_interval_is_refused() -> None:
    with pytest.raises(InputError, match="gives no interval"):
        Effort(min_rounds=2)
