"""Apache TVM on this machine's CPU, and its compiler for Arm CPUs that are not here."""

from __future__ import annotations

import struct
import tarfile
from typing import ClassVar

import pytest
import torch
from torch import nn

from jupyter_hwprune import hwprune
from tests.contracts import ARCHITECTURE, CpuContract
from tests.networks import cnn


@pytest.mark.usefixtures("environment_of_the_class")
class TestTvm(CpuContract):
    name = runs = "tvm"
    device = ARCHITECTURE
    pool_of: ClassVar = {1: 0, 2: 0}  # the default schedule has no parallel loop

    @pytest.mark.smoke
    def test_equal_layers_are_told_apart_and_the_report_says_that_they_are_untuned(self) -> None:
        layers = [each for _ in range(3) for each in (nn.Linear(64, 64), nn.ReLU())]
        model = nn.Sequential(*layers, nn.Linear(64, 10))
        report = hwprune(
            model, torch.randn(4, 64), target="cpu", toolchain=self.name, pattern="channel/8", sparsity=0.5
        ).report
        assert {layer.name: layer.kernel is not None for layer in report.layers} == dict.fromkeys("0246", True)
        assert any(each.startswith("Untuned") for each in report.reasons)

    def test_it_compiles_for_an_arm_cpu_and_checks_what_it_wrote(self) -> None:
        run = hwprune(cnn(), torch.randn(1, 3, 16, 16), target="arm-cpu", toolchain=self.name, pattern="channel/8")
        assert run.report.measurement.evidence.kind == "compiled"
        assert run.report.verdict == "not measured"
        assert run.report.check is not None
        assert run.report.check.pruned_error < 1e-4
        path = run.artifacts["library"]
        if path.suffix == ".so":
            heads = [path.read_bytes()[:20]]
        else:
            with tarfile.open(path) as archive:
                files = [archive.extractfile(each) for each in archive.getmembers() if each.name.endswith(".o")]
                heads = [file.read(20) for file in files if file is not None]
        assert heads
        assert {struct.unpack_from("<4s14xH", head) for head in heads} == {(b"\x7fELF", 183)}  # AArch64

    def test_an_operator_that_it_lacks_is_named(self) -> None:
        report = hwprune(
            nn.LSTM(8, 16), torch.randn(4, 1, 8), target="cpu", toolchain=self.name, pattern="unstructured"
        ).report
        assert report.verdict == "not measured"
        assert "LSTM" in (report.measurement.evidence.reason or "")
