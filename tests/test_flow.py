"""The Python twin, end to end: what it returns, and what it leaves alone."""

from __future__ import annotations

import gc
import logging
import random
import sys
import tempfile
import types
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

from jupyter_hwprune import doctor, hwprune, targets
from jupyter_hwprune.choose.effort import FULL
from jupyter_hwprune.core.errors import ExportError, InputError, PruneError
from jupyter_hwprune.core.target import TARGETS, Judge, find_target
from jupyter_hwprune.export import remembered
from tests.conftest import fingerprint
from tests.networks import Transformer, cnn


def world() -> dict[str, Any]:
    """All the global state of a user's kernel that a library could spoil.

    The folder of the files that a second line finds again is there for as long as the kernel lives.
    """
    return {
        "cwd": Path.cwd(),
        "here": sorted(Path.cwd().iterdir()),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002 - the state that a user may rely on
        "random": random.getstate(),
        "rc": dict(mpl.rcParams),
        "filters": list(warnings.filters),
        "logging": (logging.root.level, logging.root.manager.disable),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "folders": sorted({*Path(tempfile.gettempdir()).glob("hwprune-*")} - {remembered._root}),
    }


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_user_and_their_model_are_left_as_they_were(image: torch.Tensor) -> None:
    model = cnn().train()
    model[0].requires_grad_(requires_grad=False)  # type: ignore[index]
    model[1].eval()  # type: ignore[index]
    before, mark = world(), fingerprint(model)
    run = hwprune(model, image, target="cpu", toolchain="onnxruntime")
    run._repr_mimebundle_()
    assert fingerprint(model) == mark
    modes = [m.training for m in model.modules()]
    assert [m.training for m in run.model.modules()] == modes
    assert not run.model.get_parameter("0.0.weight").requires_grad
    assert run.model.get_parameter("1.0.weight").requires_grad
    del run
    gc.collect()
    assert world() == before


@pytest.mark.parametrize("kind", ["dict", "tuple", "keywords that are not tensors"])
def test_examples_of_all_kinds(kind: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(8, 32), nn.Linear(32, 4)

        def forward(self, x: torch.Tensor, shift: torch.Tensor, *, double: bool = False) -> torch.Tensor:
            y: torch.Tensor = self.head(torch.relu(self.inner(x + shift)))
            return 2 * y if double else y

    x, shift = torch.randn(3, 8), torch.randn(3, 8)
    example: Any = {"x": x, "shift": shift} if kind == "dict" else (x, shift)
    if kind.startswith("keywords"):
        example = {"x": x, "shift": shift, "double": True}
    report = hwprune(Net(), example, target="cpu", toolchain="onnxruntime").report
    assert report.measurement.evidence.kind == "measured"
    assert report.request.batch == 3


@pytest.mark.parametrize("batch", [1, 5])
def test_the_batch_is_what_was_asked(batch: int, image: torch.Tensor) -> None:
    assert hwprune(cnn(), image, target="cpu", toolchain="openvino", batch=batch).report.request.batch == batch


def test_a_transformer_with_a_score() -> None:
    ids = torch.randint(0, 50, (2, 6))
    seen = []

    def size(model: nn.Module) -> float:
        seen.append(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        return float(sum(p.numel() for p in model.parameters()))

    run = hwprune(Transformer(), ids, target="cpu", toolchain="onnxruntime", score=size)
    assert run.report.scores is not None
    assert run.report.scores.pruned < run.report.scores.dense
    assert run.report.scores.expression == "size"
    assert any(each.code == "HWP112" and each.what.startswith("The score fell from") for each in run.report.mistakes)
    assert run.model.get_parameter("up.weight").any()  # it was asked of a copy


@pytest.mark.parametrize("row", TARGETS, ids=lambda row: row.name)
def test_every_target_prunes_and_measures_or_says_what_is_missing(row: Any) -> None:
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512))
    run = hwprune(model, torch.randn(1, 512), target=row.name)
    report = run.report
    assert report.request.target == row.name
    assert report.layers
    assert all(layer.valid for layer in report.layers)
    if report.verdict == "not measured":
        assert report.measurement.evidence.reason
        assert report.measurement.evidence.cure
        assert report.timed is None
    else:
        assert row.kind == "cpu"
        assert report.request.device == "CPU"


def test_a_preferred_toolchain_that_was_passed_over_is_named(
    image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = find_target("x86-cpu")
    absent = replace(row, judges=(Judge("tensorrt", "CPU", row.judges[0].offers), *row.judges))
    module = types.ModuleType("chips.of_mine")
    monkeypatch.setitem(sys.modules, "chips", types.ModuleType("chips"))
    monkeypatch.setitem(sys.modules, "chips.of_mine", module)
    monkeypatch.setattr(module, "TARGET", absent, raising=False)
    report = hwprune(cnn(), image, target="chips.of_mine").report
    assert report.request.toolchain == "onnxruntime"
    assert any("tensorrt is preferred for chips.of_mine, but could not be used" in reason for reason in report.reasons)


def test_a_toolchain_asked_for_and_missing_is_not_replaced(image: torch.Tensor) -> None:
    report = hwprune(cnn(), image, target="ampere:tensorrt", pattern="channel/8").report
    assert report.request.toolchain == "tensorrt"
    assert report.verdict == "not measured"


class Unexportable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x))
        if x.sum().item() > 0:
            x = x * 2
        y: torch.Tensor = self.b(x)
        return y


class NanOut(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 16), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self[1](self[0](x))
        return y * float("nan")


def with_nan() -> nn.Module:
    model = cnn()
    with torch.no_grad():
        model.get_parameter("1.0.weight")[0, 0] = float("nan")
    return model


BAD: dict[str, tuple[Any, Any, dict[str, Any], type[Exception], str]] = {
    "wrong shape": (cnn, torch.randn(2, 4, 16, 16), {}, InputError, r"shape \(2, 4, 16, 16\)"),
    "no tensor": (cnn, "x", {}, InputError, "is a str"),
    "empty": (cnn, (), {}, InputError, "has to be a tensor"),
    "unexportable": (Unexportable, torch.randn(1, 8), {"pattern": "2:4"}, ExportError, "cannot export"),
    "nan": (with_nan, torch.randn(2, 3, 16, 16), {}, InputError, r"1\.0\.weight holds NaN"),
    "sparsity 0": (cnn, torch.randn(2, 3, 16, 16), {"sparsity": 0}, InputError, "sparsity is 0"),
    "sparsity 1": (cnn, torch.randn(2, 3, 16, 16), {"sparsity": 1}, InputError, "sparsity is 1"),
    "sparsity 1.5": (cnn, torch.randn(2, 3, 16, 16), {"sparsity": 1.5}, InputError, r"sparsity is 1\.5"),
    "sparsity against n:m": (
        cnn,
        torch.randn(2, 3, 16, 16),
        {"sparsity": 0.9, "pattern": "2:4"},
        InputError,
        "always removes 50%",
    ),
    "target": (cnn, torch.randn(2, 3, 16, 16), {"target": "amper"}, InputError, "no target 'amper'"),
    "pattern": (cnn, torch.randn(2, 3, 16, 16), {"pattern": "half"}, InputError, "no pattern 'half'"),
    "toolchain": (cnn, torch.randn(2, 3, 16, 16), {"toolchain": "gcc"}, InputError, "no toolchain 'gcc'"),
    "toolchain of another target": (
        cnn,
        torch.randn(2, 3, 16, 16),
        {"toolchain": "rknn", "target": "x86-cpu"},
        InputError,
        "x86-cpu has no toolchain rknn",
    ),
    "two toolchains": (
        cnn,
        torch.randn(2, 3, 16, 16),
        {"toolchain": "openvino", "target": "x86-cpu:onnxruntime"},
        InputError,
        "one of",
    ),
    "threads": (cnn, torch.randn(2, 3, 16, 16), {"threads": 0}, InputError, "threads is 0"),
    "batch": (cnn, torch.randn(2, 3, 16, 16), {"batch": 0}, InputError, "batch is 0"),
    "threads of a wrong type": (cnn, torch.randn(2, 3, 16, 16), {"threads": "2"}, InputError, "threads is '2'"),
    "too many threads": (cnn, torch.randn(2, 3, 16, 16), {"threads": 5000}, InputError, "this machine has"),
    "pattern of a wrong type": (cnn, torch.randn(2, 3, 16, 16), {"pattern": 24}, InputError, "has to be a string"),
    "timeout": (cnn, torch.randn(2, 3, 16, 16), {"timeout_s": 0}, InputError, "timeout is 0"),
    "no module": (lambda: 5, torch.randn(2, 3, 16, 16), {}, InputError, "model is a int"),
    "lazy": (lambda: nn.LazyLinear(4), torch.randn(2, 3), {}, InputError, "lazy layers that never ran"),
    "no rows": (cnn, torch.randn(0, 3, 16, 16), {}, InputError, "no rows"),
    "output is nan": (NanOut, torch.randn(1, 8), {}, InputError, "holds NaN"),
    "no contract": (cnn, torch.randn(2, 3, 16, 16), {"toolchain": "os.path"}, InputError, "There is no module os.path"),
    "allocation": (cnn, torch.randn(2, 3, 16, 16), {"allocation": "fair"}, InputError, "no allocation 'fair'"),
    "score raises": (cnn, torch.randn(2, 3, 16, 16), {"score": lambda _: 1 / 0}, InputError, "ZeroDivisionError"),
    "score is nan": (cnn, torch.randn(2, 3, 16, 16), {"score": lambda _: float("nan")}, InputError, "is nan"),
    "nothing fits": (cnn, torch.randn(2, 3, 16, 16), {"pattern": "512x512"}, PruneError, "No layer"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_paragraph_and_changes_nothing(case: str) -> None:
    build, example, options, kind, said = BAD[case]
    model = build()
    known = isinstance(model, nn.Module) and case != "lazy"
    mark, before = fingerprint(model) if known else "", world()
    with pytest.raises(kind, match=said) as caught:
        hwprune(model, example, **options)
    assert "\n" not in str(caught.value)
    assert not known or fingerprint(model) == mark
    assert world() == before


def test_a_temporary_folder_that_cannot_be_used_is_named(image: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/self/nothing")
    with pytest.raises(InputError, match=r"temporary folder /proc/self/nothing cannot be used.*TMPDIR"):
        hwprune(cnn(), image)


def test_the_matrix_knows_this_machine() -> None:
    rows = {row.target.name: row for row in targets().rows}
    assert len(rows) == len(TARGETS)
    assert rows["ampere"].usable == ()
    assert rows["ampere"].obstacles["cusparselt"].reason
    host = "arm-cpu" if rows["arm-cpu"].usable else "intel-cpu"
    assert "onnxruntime" in rows[host].usable
    assert "https://docs.nvidia.com" in str(doctor("ampere"))
    assert "The usual 16x16 blocks buy nothing here" in " ".join(str(doctor("tpu-v5e")).split())
    page = targets()._repr_mimebundle_()["text/html"]
    assert "https://docs.nvidia.com" in page
    assert "The usual 16x16 blocks buy nothing here" in page


def test_the_doctor_names_the_missing_and_the_cure() -> None:
    found = doctor("x86-cpu")
    states = {status.name: status for status in found.toolchains}
    assert states["onnxruntime"].available
    assert not states["deepsparse"].available
    assert states["deepsparse"].cure
    assert "deepsparse" in str(found)
    assert "<table>" in found._repr_mimebundle_()["text/html"]
    with pytest.raises(InputError, match="no target 'toaster'"):
        doctor("toaster")
    absent = {"v5e": "no chip", "v6e": "no chip", "v4": "no driver"}
    said = str(replace(found, toolchains=(replace(states["onnxruntime"], absent=absent),)))
    assert (said.count("why: no chip"), said.count("why: no driver")) == (1, 1)


def test_a_path_among_the_import_paths_and_a_dict_as_the_last_argument_do_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, parts: dict[str, torch.Tensor]) -> torch.Tensor:
            y: torch.Tensor = self.b(torch.relu(self.a(parts["u"] + parts["v"])))
            return y

    monkeypatch.setattr(sys, "path", [*sys.path, Path("/tmp")])
    x = torch.randn(2, 8)
    report = hwprune(Net(), ({"u": x, "v": x},), target="cpu", toolchain="onnxruntime").report
    assert report.measurement.evidence.kind == "measured"


def test_it_works_inside_inference_mode_and_with_another_default_type(image: torch.Tensor) -> None:
    model = cnn()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            report = hwprune(model, image, target="ampere", pattern="channel/8").report
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(report.layers) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory from Linux")
@pytest.mark.parametrize("toolchain", ["onnxruntime", "openvino"])
def test_the_peak_memory_of_each_compiled_model_is_measured(toolchain: str) -> None:
    model = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512))
    run = hwprune(model, torch.randn(64, 512), target=f"cpu:{toolchain}", effort=replace(FULL, measure_s=0.5))
    peaks, metrics = run.report.peak_memory, run.report.metrics()
    assert peaks is not None
    assert (metrics["dense_peak_bytes"], metrics["pruned_peak_bytes"]) == (peaks.dense_bytes, peaks.pruned_bytes)

    assert peaks.dense_bytes > 2 * 512 * 2048 * 4, "the weights alone take that"
