"""Toolchains and a chip from outside the package: one that estimates, one that compiles, one for a device of its own.

Each goes through the magic, the report and its forms, the doctor and the matrix, with no line of the package for it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jupyter_hwprune import Report, doctor, hwprune, targets
from jupyter_hwprune.choose.choice import what_it_can
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError, MismatchError
from jupyter_hwprune.core.target import TARGETS, find_target
from jupyter_hwprune.report import MIME_TYPE, Estimated, Untimed
from jupyter_hwprune.survey.doctor import Doctor
from jupyter_hwprune.toolchains import Status
from jupyter_hwprune.toolchains.manifest import manifest_in
from tests.fakes.toy import TARGET as TOY
from tests.networks import cnn
from tests.reports import timed

PACKAGE = Path(__file__).parents[1] / "jupyter_hwprune"
ESTIMATING, COMPILING, NPU = ("tests.fakes.estimating", "tests.fakes.compiling", "tests.fakes.npu")
SHORT = Effort(min_rounds=3, measure_s=0.2, profile_s=0.1)


@pytest.fixture
def line(shell: Any) -> Any:
    """Run a line of the magic on a small network, in a real IPython."""
    shell.user_ns |= {"net": cnn(), "x": torch.randn(2, 3, 16, 16)}
    return lambda text: shell.run_line_magic("hwprune", f"net --input x {text}")


def forms(run: Any) -> dict[str, Any]:
    found: dict[str, Any] = run._repr_mimebundle_()
    return found


def test_a_compiler_that_estimates_gives_a_ratio_and_no_verdict(line: Any) -> None:
    run = line(f"--target tpu-v5e --toolchain {ESTIMATING} --pattern channel/4")
    measurement = run.report.measurement
    assert isinstance(measurement, Estimated)
    assert measurement.evidence.kind == "compiler-estimate"
    assert measurement.unit == "cycles"
    assert measurement.ratio > 1.5
    assert run.report.verdict == "not measured"
    assert run.report.check.pruned_error < 1e-5  # what it computes, its interpreter says
    layers = {layer.name: layer for layer in run.report.layers}
    assert sum(layer.estimate.dense for layer in layers.values()) == measurement.dense
    assert sum(layer.estimate.pruned for layer in layers.values()) == measurement.pruned
    assert {layer.evidence for layer in layers.values()} == {"compiler-estimate"}
    assert all(layer.dense_us is None and layer.speed.speedup is None for layer in layers.values())
    bundle = forms(run)
    for form in (bundle["text/plain"], bundle["text/html"]):
        assert f"estimated {measurement.ratio:.2f}x" in form
        assert "a made-up cost model" in form
        assert "compiles for Google Cloud TPU v5e, but runs no models" in " ".join(form.split())
        assert "FASTER" not in form
    assert Report.from_json(run.report.to_json()) == run.report
    assert bundle[MIME_TYPE]["measurement"]["kind"] == "estimated"


def test_zeros_that_a_cost_model_counts_are_estimated_too(line: Any) -> None:
    report = line(f"--target tpu-v5e --toolchain {ESTIMATING} --pattern unstructured --sparsity 0.75").report
    assert isinstance(report.measurement, Estimated)
    assert report.measurement.ratio == pytest.approx(4, rel=0.02)


def test_a_compiler_that_only_compiles_gives_files_that_were_checked(line: Any) -> None:
    run = line(f"--target qualcomm-npu --toolchain {COMPILING} --pattern channel/4")
    report = run.report
    assert isinstance(report.measurement, Untimed)
    assert report.measurement.evidence.kind == "compiled"
    assert report.footprint.dense_bytes > report.footprint.pruned_bytes > 0
    assert run.artifacts["packed"].stat().st_size == report.footprint.pruned_bytes
    for form in (forms(run)["text/plain"], forms(run)["text/html"]):
        assert "compiled, not timed" in form
        assert "compiling 1.0 for Qualcomm Hexagon NPU" in " ".join(form.split())


def test_a_compiler_that_writes_nothing_has_compiled_nothing(line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_COMPILING", "writes nothing")
    evidence = line(f"--target qualcomm-npu --toolchain {COMPILING} --pattern channel/4").report.measurement.evidence
    assert evidence.kind == "unavailable"
    assert "did not write" in evidence.reason


def test_a_device_that_is_neither_cpu_nor_cuda_is_timed(line: Any) -> None:
    run = line("--target tests.fakes.toy")
    report = run.report
    assert report.request.target == "tests.fakes.toy"  # as a line has to name it
    assert report.request.pattern == "channel/4"
    assert timed(report).evidence.device == "a toy of an NPU"
    assert timed(report).clock == "wall"  # nothing of its work is on the CPU's account, for all that this one knows
    assert timed(report).comparison.speedup is not None
    assert report.request.on_host is False
    assert report.other_kernels is not None
    for form in (forms(run)["text/plain"], forms(run)["text/html"]):
        assert "a toy of an NPU" in form
        assert "a queue of the device" in form


def test_the_configurations_of_a_chip_are_listed_with_the_toolchain_that_takes_them() -> None:
    assert "--config" not in targets([TOY])._repr_mimebundle_()["text/html"]
    several = replace(TOY, judges=(replace(TOY.judges[0], configs=(("toy-64", "toy-128"), ("sram", "flash"))),))
    for form in (targets([several])._repr_mimebundle_()["text/html"], str(Doctor((), {}, (), (), (), target=several))):
        assert f"one of each with {NPU}: toy-64, toy-128; sram, flash" in " ".join(form.split())


def test_a_device_of_another_identity_is_refused_by_name() -> None:
    other = replace(TOY, identities=("toy-2",))
    (row,) = targets([other]).rows
    assert row.usable == ()
    assert "a toy of an NPU (toy-1)" in (row.obstacles[NPU].reason or "")


def test_the_matrix_and_the_doctor_know_all_of_them() -> None:
    rows = [
        TOY,
        replace(TOY, name="estimates", judges=(replace(TOY.judges[0], toolchain=ESTIMATING, device="v5e"),)),
        replace(TOY, name="compiles", judges=(replace(TOY.judges[0], toolchain=COMPILING),)),
    ]
    found = targets(rows)
    assert [list(row.able.values()) for row in found.rows] == [["timed"], ["estimated"], ["compiled"]]
    for form in found._repr_mimebundle_().values():
        for said in (f"timed ({NPU})", f"estimated ({ESTIMATING})", f"compiled ({COMPILING})"):
            assert said in form.replace("&nbsp;", " ")
    for name, version in ((ESTIMATING, "onnx"), (COMPILING, "compiling 1.0"), (NPU, "npu 1.0")):
        shown = doctor(f"tpu-v5e:{name}")._repr_mimebundle_()
        assert all(version in form and name in form for form in shown.values())


def test_a_line_a_chip_in_the_matrix() -> None:
    lines = str(targets()).splitlines()
    for target in TARGETS:
        (own,) = [line for line in lines if line.startswith(f"  {target.name} ")]
        assert target.chip[:10] in own
    assert "timed (" in lines[lines.index("On this machine") + 1]  # before what is only estimated or compiled here


def test_a_toolchain_compiles_for_no_device_that_its_probe_does_not_name() -> None:
    row, _ = find_target("arm-cpu")
    judge = next(each for each in row.judges if each.toolchain == "xla")
    named = Status("xla", available=True, absent={"tpu-v5e": "no TPU is here"})
    way, obstacle = what_it_can(row, judge, named)
    assert way is None
    assert obstacle is not None
    assert f"no device {judge.device} was found here" in (obstacle.reason or "")
    assert what_it_can(row, judge, replace(named, absent={judge.device: "it is elsewhere"}))[0] == "compile"


def test_a_dotted_target_that_is_no_row_is_refused() -> None:
    with pytest.raises(InputError, match="should be a module"):
        find_target("nobody.knows")
    with pytest.raises(InputError, match="needs a TARGET"):
        find_target("tests.networks")


@pytest.mark.parametrize(
    ("literal", "said"),
    [
        ("", "it has no MANIFEST"),
        ("MANIFEST = dict(install='x')", "it has no MANIFEST"),
        ("MANIFEST = {'install': 'x', 'flies': True}", "it does not know flies"),
        ("MANIFEST = {'takes': 'onnx'}", "needs an install line"),
        ("MANIFEST = {'install': 'x', 'takes': 'soup'}", "takes onnx or program"),
        ("MANIFEST = {'install': 'x', 'meter': {'colour': 1}}", "wrong meter"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_the_place(literal: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(literal)
    with pytest.raises(InputError, match=said) as refused:
        manifest_in(file)
    assert str(file) in str(refused.value)


def test_shapes_that_are_wrong_are_blamed_on_their_own_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_FAULT", "check:shape")
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8))
    with pytest.raises(MismatchError, match=r"first in layer 2,|first in layer 2\."):
        hwprune(model, torch.randn(2, 8), target="cpu", toolchain="tests.fakes.faulty", pattern="channel/8")


VENDORS = re.compile(
    r"nvml|nsight|tensorrt|cusparselt|deepsparse|openvino|onnxruntime|onnx runtime|\bncu\b|cutlass|tensor core|"
    r"cuda|\bxla\b|\btvm\b|\biree\b|litert|executorch|neuralmagic|rknn|rockchip|qualcomm|\bqnn\b|ethos|"
    r"edgetpu|edge tpu|coral|\bvela\b|vtune|ittapi",
    re.IGNORECASE,
)
OWN_FILES = (
    # these call torch's own functions, which are named so
    *("notebook/turns.py", "pruning/compressed.py", "core/ranges.py"),
    *("core/target.py", "toolchains/_*.py", "toolchains/requirements/*"),
    *(
        f"toolchains/{name}.py"
        for name in (
            "cusparselt",
            "deepsparse",
            "edgetpu",
            "ethos_u",
            "executorch",
            "iree",
            "litert",
            "onnxruntime",
            "openvino",
            "qnn",
            "rknn",
            "tensorrt",
            "tvm",
            "xla",
        )
    ),
)


def test_no_vendor_is_named_outside_its_own_files_and_the_rows() -> None:
    own = {path for pattern in OWN_FILES for path in PACKAGE.glob(pattern)}
    named = [
        f"{path.relative_to(PACKAGE)}:{number}: {text.strip()[:90]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path not in own
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if VENDORS.search(text)
    ]
    assert named == []
