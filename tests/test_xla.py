"""XLA's compiler for TPUs, which are not here: it estimates, and its block-sparse kernels are computed on this CPU."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from jupyter_hwprune import hwprune
from jupyter_hwprune.report import Layer, Report
from tests.contracts import ARCHITECTURE, CpuContract, EstimateContract


def layers_of(report: Report) -> dict[str, Layer]:
    return {layer.name: layer for layer in report.layers}


@pytest.mark.usefixtures("environment_of_the_class")
class TestXla(EstimateContract):
    name, target = "xla", "tpu-v5e"

    @pytest.mark.smoke
    def test_blocks_that_go_are_skipped_by_a_kernel_of_the_right_result(self) -> None:
        model = nn.Sequential(nn.Linear(1024, 512), nn.GELU(), nn.LayerNorm(512), nn.Linear(512, 1024)).eval()
        report = hwprune(
            model, torch.randn(512, 1024), target=self.target, pattern="128x128/even", sparsity=0.75
        ).report
        layers = layers_of(report)
        assert report.measurement.kind == "estimated"
        assert report.measurement.pruned < report.measurement.dense
        assert any("the ratio is as uncertain" in each for each in report.reasons)
        assert 0 < report.metrics()["pruned_utilization"] < 1
        assert 0 < report.metrics()["dense_utilization"] < 1
        assert [layer.used for layer in layers.values()] == [True, True]
        assert "block-sparse kernel: 8 of 32 blocks of 128x128 multiplied, 512" in (layers["0"].pruned_kernel or "")
        assert report.check is not None
        assert 0 < report.check.pruned_error < report.check.tolerance  # against torch, by Pallas's interpreter

    @pytest.mark.parametrize("activation", [nn.ReLU(), nn.SiLU(), nn.GELU(approximate="tanh")], ids=str)
    def test_sides_that_no_block_divides_are_padded_and_right(self, activation: nn.Module) -> None:
        first, second = nn.Linear(1008, 720, bias=False), nn.Linear(720, 1008)
        model = nn.Sequential(first, activation, second, nn.ReLU()).eval()
        with torch.no_grad():  # whole groups of outputs and inputs that do not line up with the unit's side
            first.weight[100:400, 300:] = 0
            second.weight[:, 200:] = 0
        report = hwprune(model, torch.randn(3, 171, 1008), target=self.target, pattern="144x144", sparsity=0.7).report
        assert report.check is not None
        assert 0 < report.check.pruned_error < report.check.tolerance
        assert any(layer.used for layer in report.layers)

    def test_a_1x1_convolution_skips_blocks_and_others_say_why_they_do_not(self) -> None:
        model = nn.Sequential(nn.Conv2d(512, 512, 1), nn.ReLU(), nn.Conv2d(512, 512, 3)).eval()
        run = hwprune(model, torch.randn(4, 512, 16, 15), target=self.target, pattern="128x128/even", sparsity=0.75)
        layers = layers_of(run.report)
        assert layers["0"].used
        assert "block-sparse kernel: 4 of 16 blocks" in (layers["0"].pruned_kernel or "")
        assert not layers["2"].used
        assert "no block-sparse kernel for 9 taps" in (layers["2"].pruned_kernel or "")
        assert run.report.check is not None
        assert 0 < run.report.check.pruned_error < run.report.check.tolerance

    def test_small_blocks_leave_every_tile_full_and_the_report_says_so(self) -> None:
        model = nn.Sequential(nn.Linear(512, 512), nn.LayerNorm(512), nn.Linear(512, 512)).eval()
        report = hwprune(model, torch.randn(256, 512), target=self.target, pattern="16x16", sparsity=0.5).report
        assert report.measurement.kind == "estimated"
        assert report.measurement.pruned == report.measurement.dense
        assert [layer.used for layer in report.layers] == [False, False]
        said = "dense: 16 of 16 blocks of 128x128 hold weights"
        assert all((layer.pruned_kernel or "").startswith(said) for layer in report.layers)
        assert {"HWP105"} <= {each.code for each in report.mistakes}


@pytest.mark.usefixtures("environment_of_the_class")
class TestXlaOnThisCpu(CpuContract):
    name = runs = "xla"
    package = "jax"
    device = ARCHITECTURE
    pool_of: ClassVar = {1: 0, 2: 2}  # one in each of XLA's two pools

    @pytest.mark.smoke
    def test_the_tpus_program_runs_here_and_is_no_tpu(self) -> None:
        model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10)).eval()
        report = hwprune(model, torch.randn(4, 64), target="cpu", toolchain=self.name, pattern="channel/8").report
        assert report.measurement.kind == "timed"
        assert {layer.name: layer.kernel is not None for layer in report.layers} == {"0": True, "2": True}
        assert any("none of its times says anything of a TPU" in each for each in report.reasons)
