"""ExecuTorch: XNNPACK's kernels by layer, int8, what XNNPACK leaves out, and a file for chips that are not here."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.target import ARM
from jupyter_hwprune.toolchains import interpreter
from tests.contracts import CpuContract
from tests.networks import cnn


class Volume(nn.Module):
    """A convolution that neither XNNPACK nor ExecuTorch's own kernels compute."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.volume = nn.Conv2d(3, 8, 3), nn.Conv3d(1, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.volume(self.inner(x)[:, None])
        return y


@pytest.mark.usefixtures("environment_of_the_class")
class TestExecutorch(CpuContract):
    name = runs = "executorch"

    @pytest.mark.smoke
    @pytest.mark.timeout(600)  # the first in its environment
    def test_it_is_measured_quantised_and_deployed(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        model, x = cnn(), torch.randn(4, 3, 16, 16)
        batches = [torch.randn(4, 3, 16, 16) for _ in range(4)]
        run = hwprune(model, x, target="cpu:executorch", dtype="int8", calib=batches, effort=QUICK)
        corners = run.report.corners
        assert corners is not None
        assert [each.dtype for each in corners.rows] == ["float32", "float32", "int8", "int8"], corners
        assert all(each.error is not None and each.error < 0.1 for each in corners.rows)
        assert (corners.rows[2].file_bytes or 0) < (corners.rows[0].file_bytes or 0)
        run.export(tmp_path / "deployed")
        script = [str(interpreter("executorch")), "run.py"]
        done = subprocess.run(script, cwd=tmp_path / "deployed", capture_output=True, text=True, check=True)
        assert "(4, 10) torch.float32" in done.stdout

    def test_all_layers_of_the_quantised_model_run_in_8_bits(self) -> None:
        corners = hwprune(cnn(), torch.randn(2, 3, 16, 16), target="cpu:executorch", dtype="int8").report.corners
        assert corners is not None
        assert [each.int8_layers for each in corners.rows] == [0, 0, 3, 3]
        assert corners.quantiser is not None
        assert "XNNPACKQuantizer" in corners.quantiser

    def test_kernels_bear_the_names_that_xnnpack_gives_them(self, run: Run) -> None:
        kernels = {layer.name: layer.kernel for layer in run.report.layers}
        assert kernels["1.0"] == "Convolution (NHWC, F32) IGEMM"
        assert kernels["4"] == "Fully Connected (NC, F32) GEMM"

    def test_an_operator_that_no_kernel_takes_is_named(self) -> None:
        report = hwprune(Volume(), torch.randn(1, 3, 16, 16), target="cpu:executorch", pattern="unstructured").report
        reason = report.measurement.evidence.reason or ""
        assert "XNNPACK did not take aten::convolution.out, and ExecuTorch has no other kernel that does" in reason

    @pytest.mark.skipif(platform.machine() == ARM, reason="it is the chip")
    def test_for_an_arm_cpu_that_is_not_here_the_file_is_checked_and_never_timed(self) -> None:
        run = hwprune(cnn(), torch.randn(1, 3, 16, 16), target="arm-cpu", effort=QUICK)
        report = run.report
        assert report.request.toolchain == "executorch"
        assert report.measurement.evidence.kind == "compiled"
        assert report.measurement.kind == "untimed"
        assert report.check is not None
        assert 0 < report.check.pruned_error < 1e-4
        assert report.footprint is not None
        assert run.artifacts["pte"].stat().st_size == report.footprint.pruned_bytes
