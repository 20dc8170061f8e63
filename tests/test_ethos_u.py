"""Arm's compiler for Ethos-U NPUs, which are not here: it quantises, compiles and estimates what users deploy."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.report import Report
from tests.contracts import EstimateContract
from tests.networks import conv


def convolutions(middle: int = 64) -> nn.Module:
    """Convolutions with BatchNorm, which the compiler folds into them, and a product of a matrix."""
    body = (conv(3, 64), conv(64, middle), conv(middle, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return nn.Sequential(*body).eval()


class Sorted(nn.Module):
    """A product, and an operator that the NPU lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.sort(torch.relu(self.inner(x)))[0])
        return y


def pruned(target: str, pattern: str, sparsity: float | None = None, config: tuple[str, ...] = ()) -> Report:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 32, 32)
    return hwprune(convolutions(), x, target=target, pattern=pattern, sparsity=sparsity, config=config).report


@pytest.mark.usefixtures("environment_of_the_class")
class TestEthosU(EstimateContract):
    name, target = "ethos-u", "ethos-u85"
    bytes_of_weight: ClassVar[tuple[float, float]] = (0.7, 1.1)  # packed int8

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        """Return the contract's MLP without its LayerNorm, whose parts in int8 are too coarse for random numbers."""
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 512)).eval()
        return hwprune(model, torch.randn(64, 512), target=cls.target, toolchain=cls.name, pattern="channel/128")

    def test_the_file_to_deploy_is_written_and_the_memory_told(self, run: Run) -> None:
        report = run.report
        assert report.measurement.kind == "estimated"
        assert report.measurement.clock_mhz == 1000
        assert run.artifacts["pte"].stat().st_size == report.footprint.pruned_bytes if report.footprint else False
        assert report.footprint is not None
        for memory in (report.footprint.dense, report.footprint.pruned):
            assert memory is not None
            assert memory.weight_bytes
            assert memory.sram_bytes
            assert memory.traffic_bytes
            assert memory.traffic_bytes >= memory.weight_bytes

    def test_zeros_that_no_kernel_skips_change_nothing(self) -> None:
        """They are given back, layer by layer, where the multiplications and not the weights take the time."""
        report = pruned("ethos-u85", "unstructured", 0.5)
        assert report.measurement.kind == "estimated"
        assert {"1.0", "2.0"} <= {each.name for each in report.returned}
        assert all("cycles with its zeros" in each.reason for each in report.returned)

    def test_2_to_4_pays_in_convolutions_of_the_chip_that_skips_zeros_and_in_no_other(self) -> None:
        """Through BatchNorm's folding and the quantisation, layer by layer: no layer that stays pruned is slower."""
        found = {target: pruned(target, "2:4") for target in ("ethos-u85", "ethos-u55")}
        for report in found.values():
            assert report.check is not None
            assert report.check.pruned_error < report.check.tolerance
            layers = [each.estimate for each in report.layers]
            assert all(each is not None and each.pruned < each.dense for each in layers)
        estimates = {each.name: each.estimate for each in found["ethos-u85"].layers}
        for name in ("1.0", "2.0"):
            estimate = estimates[name]
            assert estimate is not None
            assert estimate.dense / estimate.pruned > 1.5
        assert not {"1.0", "2.0"} & {each.name for each in found["ethos-u55"].layers}

    def test_a_configuration_with_more_multipliers_takes_fewer_cycles(self) -> None:
        costs = {}
        for config in ((), ("ethos-u85-1024",)):
            report = pruned("ethos-u85", "channel/16", config=config)
            assert report.measurement.kind == "estimated"
            assert ("ethos-u85-1024" in (report.measurement.evidence.device or "")) == bool(config)
            costs[config] = report.measurement.dense
        assert costs["ethos-u85-1024",] < costs[()]

    def test_operators_that_are_left_to_the_cpu_are_named(self) -> None:
        report = hwprune(Sorted(), torch.randn(1, 32), target=self.target, pattern="2:4").report
        assert any("On the CPU beside the NPU" in each and "sort" in each for each in report.reasons), report.reasons
