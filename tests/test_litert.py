"""LiteRT by XNNPACK, in an environment of its own: it lists its operators and times none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jupyter_hwprune import Run, hwprune
from tests.contracts import CpuContract
from tests.networks import cnn


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

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_honoured(self, threads: int, tmp_path: Path) -> None:  # noqa: ARG002 - the contract's
        """The contract's test runs an ONNX file; here the report says with how many it ran."""
        report = hwprune(cnn(), torch.randn(2, 3, 16, 16), target="cpu", toolchain=self.name, threads=threads).report
        assert report.request.threads == threads
        assert report.check is not None

    def test_a_file_for_arm_is_checked_and_not_timed(self) -> None:
        report = hwprune(
            cnn(), torch.randn(1, 3, 16, 16), target="arm-cpu", toolchain=self.name, pattern="channel/8"
        ).report
        assert report.check is not None
        assert report.check.pruned_error < 1e-4
        assert report.measurement.evidence.kind in {"compiled", "measured"}  # measured on an Arm CPU
