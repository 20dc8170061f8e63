"""The vendor's profiler of x86 CPUs: on stand-ins for VTune and ittapi, whose report is made up."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from jupyter_hwprune import Report, Run, hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.survey.profilers import profilers
from jupyter_hwprune.toolchains import _sampling
from tests.networks import cnn

FAKES = Path(__file__).parent / "fakes"
SHORT = Effort(min_rounds=3, max_rounds=3, measure_s=0.1, profile_s=0.1)


@pytest.fixture
def vtune(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.syspath_prepend(FAKES / "itt")
    monkeypatch.setenv("HWPRUNE_ITT", str(tmp_path / "marks"))
    return tmp_path / "marks"


def run(**options: Any) -> Run:
    return hwprune(cnn(), torch.randn(2, 3, 16, 16), target="cpu:onnxruntime", effort=SHORT, **options)


def test_functions_of_dense_and_pruned_come_by_the_marks_around_them(vtune: None, marks: Path) -> None:
    found = run()
    hotspots = found.report.hotspots
    assert hotspots is not None
    assert hotspots.evidence.kind == "measured"
    assert hotspots.evidence.device == "VTune 2025.0.0, sampling in user mode"
    told = marks.read_text().splitlines()
    assert told == [
        *(f"hwprune {each}" for each in ("prepare dense", "prepare pruned")),
        *(["hwprune dense", "hwprune pruned"] * 3),
    ]
    product, reorder = hotspots.rows  # what ran outside the models' tasks is not theirs
    assert (product.function, product.module) == ("jit_avx512_common_conv_fwd_kernel", "[Dynamic code]")
    assert product.dense_ms is not None
    assert product.pruned_ms is not None
    assert (reorder.function, reorder.pruned_ms) == ("reorder<float, 8>", None)
    assert reorder.dense_ms == pytest.approx(product.dense_ms / 4, rel=1e-3)  # as in the recorded report
    for form in (str(found), found._repr_mimebundle_()["text/html"].replace("&nbsp;", " ")):
        assert "VTune 2025.0.0, sampling in user mode" in " ".join(form.split())
    assert Report.from_json(found.report.to_json()) == found.report


@pytest.mark.parametrize(
    ("fault", "reason", "cure"),
    [
        ("ptrace", "does not let programs watch each other", "kernel.yama.ptrace_scope=0"),
        ("empty", "no time in the tasks of both models", "`%hwprune doctor`"),
    ],
)
def test_a_profiler_that_fails_leaves_its_reason_and_the_rest_of_the_report(
    vtune: None, marks: Path, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str, cure: str
) -> None:
    monkeypatch.setenv("HWPRUNE_VTUNE", fault)
    report = run().report
    assert report.timed is not None
    assert report.hotspots is not None
    assert report.hotspots.rows == ()
    assert reason in (report.hotspots.evidence.reason or "")
    assert cure in (report.hotspots.evidence.cure or "")


def test_without_marks_or_without_the_profiler_nothing_is_sampled(vtune: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("ittapi") is None:
        hotspots = run().report.hotspots
        assert hotspots is not None
        assert "cannot tell dense from pruned" in (hotspots.evidence.reason or "")
        assert "pip install ittapi" in (hotspots.evidence.cure or "")
    monkeypatch.setenv("PATH", os.defpath)
    assert run().report.hotspots is None


def test_the_doctor_says_what_a_profiler_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vtune", "perf"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    counters, paranoid = tmp_path / "devices", tmp_path / "paranoid"
    monkeypatch.setenv("PATH", str(tmp_path))
    vendor, perf = profilers(paranoid, counters)
    assert vendor.found
    assert not perf.found
    assert "no hardware counters" in perf.said
    (counters / "cpu").mkdir(parents=True)
    for level, found in ((4, False), (2, True), (-1, True)):
        paranoid.write_text(f"{level}\n")
        _, perf = profilers(paranoid, counters)
        assert perf.found is found
        assert (perf.cure is None) is found
    monkeypatch.setenv("PATH", str(counters))
    monkeypatch.setattr(_sampling, "INSTALLED", (str(tmp_path),))
    vendor, perf = profilers(paranoid, counters)
    assert not vendor.found
    assert "https://www.intel.com/" in (vendor.cure or "")
    assert "linux-perf" in (perf.cure or "")
    (tmp_path / "setvars.sh").touch()
    assert profilers(paranoid, counters)[0].cure == f"source {tmp_path}/setvars.sh before the kernel starts"
