"""Qualcomm's compiler for the HTP, which is not here: it compiles whole models, and computes their outputs itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune, setup
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.toolchains import environments
from tests.networks import ZOO, cnn

TARGET = "qualcomm-npu"


class Determinant(nn.Module):
    """A product, and an operator that the NPU has no kernel for."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(8, 64), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.det(self.head(torch.relu(self.inner(x))).reshape(-1, 4, 4))
        return y


@pytest.mark.usefixtures("environment_of_the_class")
class TestQnn:
    name = "qnn"

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        torch.manual_seed(0)
        return hwprune(cnn(), torch.randn(2, 3, 16, 16), target=TARGET, pattern="channel/8")

    @pytest.mark.smoke
    def test_a_context_binary_is_compiled_checked_and_not_timed(self, run: Run) -> None:
        report = run.report
        assert report.measurement.kind == "untimed"
        assert report.measurement.evidence.kind == "compiled"
        assert report.verdict == "not measured"
        assert report.check is not None
        assert 0 < max(report.check.dense_error, report.check.pruned_error) < report.check.tolerance
        assert report.footprint is not None
        assert report.footprint.pruned_bytes < report.footprint.dense_bytes
        assert b"EPContext" in run.artifacts["context"].read_bytes()
        assert all(layer.dense_us is None and layer.estimate is None for layer in report.layers)

    def test_a_model_is_quantised_by_the_inputs_of_the_user_and_compiled_in_int8(self) -> None:
        torch.manual_seed(0)
        calib = [torch.randn(2, 3, 16, 16) for _ in range(4)]
        report = hwprune(cnn(), calib[0], target=TARGET, pattern="channel/8", dtype="int8", calib=calib).report
        assert report.measurement.evidence.kind == "compiled"
        assert report.check is not None
        assert 1e-3 < report.check.dense_error < report.check.tolerance
        assert any("8 rows" in each and "int8" in each for each in report.reasons), report.reasons

    @pytest.mark.parametrize("name", ["transformer", "mobile", "unet", "recurrent", "two_outputs"])
    def test_other_kinds_of_networks_are_compiled_too(self, name: str) -> None:
        build, make_input = ZOO[name]
        report = hwprune(build(), make_input(), target=TARGET, pattern="channel/4").report
        assert report.measurement.evidence.kind == "compiled"
        assert report.check is not None

    def test_an_operator_that_the_npu_lacks_is_named_and_nothing_runs_on_the_cpu_instead(self) -> None:
        run = hwprune(Determinant(), torch.randn(2, 8), target=TARGET, pattern="channel/8")
        evidence = run.report.measurement.evidence
        assert evidence.kind == "unavailable"
        assert "leaves to the CPU: Det, first ::Det_" in (evidence.reason or "")
        assert "context" not in run.artifacts


def test_the_licence_is_shown_before_anything_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=r"AI Stack License.*no reverse engineering.*--accept-licence"):
        setup("qnn")
    assert not list(tmp_path.glob("qnn-*"))
