"""LiteRT by XNNPACK, in an environment of its own: it lists its operators and times none of them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.choose.effort import FULL, Effort
from jupyter_hwprune.toolchains import interpreter
from tests.contracts import CpuContract
from tests.networks import cnn

ONCE = Effort(min_rounds=3, clear_rounds=3, max_rounds=3, measure_s=0.1)


class WithLookup(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows, self.gru, self.out = nn.Embedding(64, 32), nn.GRU(32, 32, batch_first=True), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.gru(self.rows(x))[0])
        return y


@pytest.mark.usefixtures("environment_of_the_class")
class TestLitert(CpuContract):
    name = runs = "litert"

    @pytest.mark.smoke
    def test_every_layer_has_its_kernel_and_its_time(self, run: Run) -> None:
        """Here: its operator, and no time, since the runtime tells none."""
        layers = {layer.name: layer for layer in run.report.layers}
        assert {name: (each.kernel or "").partition(" ")[0] for name, each in layers.items()} == {
            "0.0": "CONV_2D",
            "1.0": "CONV_2D",
            "4": "FULLY_CONNECTED",
        }
        assert all(each.dense_us is None and each.pruned_us is None and each.used for each in layers.values())

    def test_convolutions_run_as_convolutions(self, run: Run) -> None:
        assert next(layer for layer in run.report.layers if layer.name == "1.0").kernel == "CONV_2D (float32)"

    def test_the_file_shrinks_with_the_channels(self, run: Run) -> None:
        footprint = run.report.footprint
        assert footprint is not None
        assert run.artifacts["tflite"].stat().st_size == footprint.pruned_bytes
        assert (footprint.pruned_bytes or 0) < (footprint.dense_bytes or 0)

    def test_the_peak_of_its_memory_is_measured(self) -> None:
        run = hwprune(cnn(), torch.randn(2, 3, 16, 16), target="cpu:litert", effort=replace(FULL, measure_s=0.5))
        assert run.report.peak_memory is not None
        assert run.report.metrics()["dense_peak_bytes"] == run.report.peak_memory.dense_bytes > 0

    def test_it_is_quantised_and_deployed(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        model, batches = cnn(), [torch.randn(4, 3, 16, 16) for _ in range(4)]
        run = hwprune(model, batches[0], target="cpu:litert", dtype="int8", calib=batches, effort=ONCE)
        corners = run.report.corners
        assert corners is not None
        assert [each.dtype for each in corners.rows] == ["float32", "float32", "int8", "int8"], corners
        assert [each.int8_layers for each in corners.rows] == [0, 0, 3, 3]
        assert all(0 < (each.error or 0) < 0.3 for each in corners.rows)
        assert (corners.rows[2].file_bytes or 0) < (corners.rows[0].file_bytes or 0)
        assert "ai-edge-quantizer" in (corners.quantiser or "")
        assert corners.left_in_float == ()
        run.export(tmp_path / "deployed")
        script = [str(interpreter("litert")), "run.py"]
        done = subprocess.run(script, cwd=tmp_path / "deployed", capture_output=True, text=True, check=True)
        assert "(4, 10) float32" in done.stdout

    def test_layers_that_the_quantiser_leaves_in_float_are_listed(self) -> None:
        corners = hwprune(
            WithLookup(), torch.tensor([[1, 2, 3]]), target="cpu:litert", dtype="int8", effort=ONCE
        ).report.corners
        assert corners is not None
        assert [each.layer for each in corners.left_in_float] == ["rows"]
        assert (corners.rows[3].int8_layers or 0) > 0

    def test_a_file_for_arm_is_checked_and_not_timed(self) -> None:
        report = hwprune(
            cnn(), torch.randn(1, 3, 16, 16), target="arm-cpu", toolchain=self.name, pattern="channel/8"
        ).report
        assert report.check is not None
        assert report.check.pruned_error < 1e-4
        assert report.measurement.evidence.kind in {"compiled", "measured"}  # measured on an Arm CPU
