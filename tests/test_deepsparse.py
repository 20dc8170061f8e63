"""DeepSparse from a modern kernel: who wins, what fell back, what the simulation says, and what is advised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from jupyter_hwprune import hwprune, simulate
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.measure.judge import compare
from jupyter_hwprune.render import summary
from jupyter_hwprune.report import Baseline, Evidence, Report
from jupyter_hwprune.report.words import words_of
from tests import reports
from tests.conftest import fingerprint
from tests.networks import ZOO, cnn

NAMES = ("onnxruntime", "openvino")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 64))


@pytest.mark.smoke
@pytest.mark.usefixtures("deepsparse_environment")
def test_a_kernel_with_numpy_2_prunes_for_it(shell: Any) -> None:
    assert np.__version__.startswith("2.")
    shell.push({"model": mlp(), "x": torch.randn(64, 256)})
    report = shell.run_line_magic("hwprune", "--target x86-cpu:deepsparse --sparsity 0.9").report
    assert (report.request.toolchain, report.request.pattern) == ("deepsparse", "unstructured")
    assert report.versions["numpy"].startswith("1.")
    assert report.check.pruned_error < 1e-4
    assert report.timed is not None
    assert any("ran a sparse kernel for 3 of 3" in reason for reason in report.reasons)


@pytest.mark.usefixtures("deepsparse_environment")
def test_it_is_taken_only_by_name_for_its_licence_forbids_more() -> None:
    model, x = cnn(), torch.randn(1, 3, 16, 16)
    assert hwprune(model, x, target="x86-cpu", effort=QUICK).report.request.toolchain == "onnxruntime"
    report = hwprune(model, x, target="x86-cpu", pattern="unstructured", sparsity=0.9, effort=QUICK).report
    assert report.request.toolchain == "onnxruntime"
    [said] = [reason for reason in report.reasons if "deepsparse" in reason]
    assert "used only when named: its licence allows evaluation only" in said
    assert "(--toolchain deepsparse)" in said


@pytest.mark.usefixtures("deepsparse_environment")
def test_a_network_without_a_sparse_kernel_is_advised_against() -> None:
    layers = [nn.Conv2d(64, 64, 3, padding=1, groups=64) for _ in range(4)]
    report = hwprune(
        nn.Sequential(*layers), torch.randn(1, 64, 28, 28), target="x86-cpu:deepsparse", sparsity=0.5
    ).report
    assert report.verdict in {"slower", "no measurable gain"}
    assert any("Not advised for this model" in reason and "--pattern channel/8" in reason for reason in report.reasons)


@pytest.mark.usefixtures("deepsparse_environment")
def test_a_layer_that_falls_back_is_named_with_what_ran_it() -> None:
    build, make_input = ZOO["mobile"]
    report = hwprune(build(), make_input(), target="x86-cpu:deepsparse", sparsity=0.8).report
    kernels = {layer.name: layer.pruned_kernel or "" for layer in report.layers}
    assert kernels["grouped.0"].startswith("ONNX Runtime, inside DeepSparse")
    assert {layer.name: layer.used for layer in report.layers}["grouped.0"] is False


@pytest.mark.usefixtures("deepsparse_environment")
def test_the_graph_is_written_in_the_words_that_it_has_kernels_for() -> None:
    build, make_input = ZOO["transformer"]
    run = hwprune(build(), make_input(), target="x86-cpu:deepsparse", sparsity=0.8)
    given, prepared = (onnx.load(run.artifacts[name]) for name in ("onnx", "prepared"))
    assert "LayerNormalization" in {node.op_type for node in given.graph.node}
    assert "LayerNormalization" not in {node.op_type for node in prepared.graph.node}
    assert prepared.opset_import[0].version == 17
    means = [node for node in prepared.graph.node if node.op_type == "ReduceMean"]
    assert all(len(node.input) == 1 for node in means)
    onnx.checker.check_model(prepared)


@pytest.mark.usefixtures("deepsparse_environment")
def test_a_simulation_prunes_nothing_and_says_what_it_is(shell: Any) -> None:
    model, x = mlp(), torch.randn(64, 256)
    before = fingerprint(model)
    shell.push({"net": model, "x": x})
    found = shell.run_line_magic("hwprune", "simulate net --input x --target x86-cpu")
    assert fingerprint(model) == before
    assert found.evidence.kind == "simulated kernels"
    assert [row.sparsity for row in found.rows] == [0.7, 0.8, 0.9, 0.95]
    assert all(row.ms > 0 for row in found.rows)
    assert found.rows[3].speed.verdict == "faster"  # of 95 % zeros, with the whole interval
    said = str(found)
    assert "simulated kernels on" in said
    assert "zeros imposed at random" in said
    assert "simulated kernels on" in found._repr_mimebundle_()["text/html"]


def test_a_simulation_where_the_toolchain_is_missing_says_the_cure() -> None:
    found = simulate(mlp(), torch.randn(2, 256), target="x86-cpu")
    assert found.evidence.kind == "unavailable"
    assert found.dense_ms is None
    assert "cure: %hwprune setup deepsparse --accept-licence" in str(found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "hopper"}, "None of cusparselt, tensorrt can simulate sparsity"),
        ({"target": "x86-cpu:openvino"}, "None of openvino can simulate sparsity"),
        ({"target": "x86-cpu", "sparsities": [0.5, 1.5]}, r"The sparsities are \[0\.5, 1\.5\]"),
    ],
)
def test_what_cannot_be_simulated_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        simulate(mlp(), torch.randn(2, 256), **options)


def against(*dense_ms: float) -> Report:
    """Make a report that was twice as fast as its own dense model, beside dense runtimes that took these times."""
    one = reports.report((reports.layer("a", 8, 8),))
    pruned = reports.timed(one).pruned
    rivals = []
    for name, ms in zip(NAMES, dense_ms, strict=True):
        times = tuple(ms * each for each in (1.0, 1.01, 0.99, 1.0))
        rivals.append(
            Baseline(name, Evidence("measured", "here"), None, None, ms, compare(times, times, pruned.cpu_ms))
        )
    return replace(one, baselines=tuple(rivals))


def test_the_fastest_dense_runtime_decides() -> None:
    assert against(3.0, 4.0).verdict == "faster"
    slower = against(3.0, 0.5)
    assert reports.timed(slower).comparison.verdict == "faster"
    assert slower.verdict == "slower"
    assert "SLOWER 0.49x against dense with openvino" in summary(slower)
    assert against(1.03, 4.0).verdict == "no measurable gain"


def test_the_headline_is_against_the_fastest_dense_model_also_where_all_are_beaten() -> None:
    report = against(3.0, 1.6)
    assert reports.timed(report).comparison.verdict == "faster"
    assert "FASTER 1.56x against dense with openvino" in summary(report)
    facts = {fact.name: fact.said for fact in words_of(report).facts}
    assert facts["time"] == "1.60 ms, dense with openvino, → 1.00 ms"
    assert facts["of that"].startswith("the runtime alone gives 0.80x (dense, 1.60 ms with openvino → 2.00 ms)")


def test_a_baseline_that_could_not_be_timed_decides_nothing() -> None:
    report = against(3.0, 4.0)
    gone = Baseline("openvino", Evidence("unavailable", reason="it crashed"), None, None, None, report.layers[0].speed)
    assert replace(report, baselines=(gone,)).verdict == "faster"
