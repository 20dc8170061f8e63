"""IREE on this machine's CPU, and its compiler for chips that are not here."""

from __future__ import annotations

import struct
from typing import ClassVar

import pytest
import torch
from torch import nn

from jupyter_hwprune import hwprune
from tests.contracts import ARCHITECTURE, CpuContract
from tests.networks import cnn


@pytest.mark.usefixtures("environment_of_the_class")
class TestIree(CpuContract):
    name = runs = "iree"
    device = ARCHITECTURE
    pool_of: ClassVar = {1: 0, 2: 2}  # beside the caller, which then only waits

    @pytest.mark.smoke
    def test_unrounded_channels_are_named_and_layers_of_one_shape_are_told_apart(self) -> None:
        layers = [each for _ in range(3) for each in (nn.Linear(64, 64), nn.ReLU())]
        model = nn.Sequential(*layers, nn.Linear(64, 10))
        report = hwprune(
            model, torch.randn(4, 64), target="cpu", toolchain=self.name, pattern="channel/1", sparsity=0.53
        ).report
        assert {layer.name: layer.kernel is not None for layer in report.layers} == dict.fromkeys("0246", True)
        (said,) = [each for each in report.mistakes if each.code == "HWP106"]
        assert {"0", "2", "4"} <= set(said.layers)
        assert "--pattern channel/8" in (said.line or "")

    @pytest.mark.parametrize("target", ["arm-cpu", "arm-gpu", "jetson"])
    def test_it_compiles_for_a_chip_that_is_not_here_and_checks_what_it_wrote(self, target: str) -> None:
        run = hwprune(cnn(), torch.randn(1, 3, 16, 16), target=target, toolchain=self.name, pattern="channel/8")
        assert run.report.measurement.evidence.kind == "compiled"
        assert run.report.verdict == "not measured"
        assert run.report.check is not None
        assert run.report.check.pruned_error < 1e-4
        program = run.artifacts["vmfb"].read_bytes()
        if target == "arm-cpu":
            at = program.index(b"\x7fELF")
            assert struct.unpack_from("<H", program, at + 18) == (183,)  # AArch64
        elif target == "arm-gpu":
            assert struct.pack("<I", 0x07230203) in program  # SPIR-V
        else:
            assert b".target sm_87" in program
