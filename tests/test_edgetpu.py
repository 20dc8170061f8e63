"""Google's Edge TPU: an int8 file held against the chip's documented rules, and the compiler's report where it is.

The compiler is in no package index, so a script with its name stands in for it and prints a report of version 16 as it
was published; it compiles nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune
from tests.networks import cnn

TARGET = "edge-tpu"
REPORT = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 96 ms.

On-chip memory used for caching model parameters: 7.14MiB
Off-chip memory used for streaming uncached model parameters: 6.63MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 6

Operator                       Count      Status

CONV_2D                        4          Mapped to Edge TPU
CONV_2D                        1          More than one subgraph is not supported
QUANTIZE                       1          Operation is otherwise supported, but not mapped due to some unspecified \
limitation
"""


class Cumulative(nn.Module):
    """A convolution that the chip takes, an operation that it lacks, and another convolution behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(torch.sin(self.before(x)))
        return y


def run_with_compiler(commands: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run with a shell script of these commands on PATH, in the place of the compiler."""
    script = folder / "edgetpu_compiler"
    script.write_text(f"#!/bin/sh\n{commands}")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return hwprune(cnn(), torch.randn(1, 3, 16, 16), target=TARGET, pattern="channel/8")


@pytest.mark.usefixtures("environment_of_the_class")
class TestEdgeTpu:
    name = "litert"  # whose environment it runs in
    toolchain = "edgetpu"

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        torch.manual_seed(0)
        calib = [torch.randn(1, 3, 16, 16) for _ in range(8)]
        return hwprune(cnn(), calib[0], target=TARGET, toolchain=cls.toolchain, pattern="channel/8", calib=calib)

    @pytest.mark.smoke
    def test_the_file_is_checked_and_the_missing_compiler_is_said(self, run: Run) -> None:
        report = run.report
        evidence = report.measurement.evidence
        assert (report.measurement.kind, evidence.kind) == ("untimed", "unavailable")
        assert "edgetpu_compiler is not on PATH" in (evidence.reason or "")
        assert "coral.ai/docs/edgetpu/compiler" in (evidence.cure or "")
        assert report.check is not None
        assert 1e-3 < max(report.check.dense_error, report.check.pruned_error) < report.check.tolerance
        assert report.footprint is not None
        assert report.footprint.pruned_bytes < report.footprint.dense_bytes
        assert any("operators run on the Edge TPU" in each for each in report.reasons), report.reasons

    def test_the_files_of_the_run_hold_the_model_in_int8_and_the_place_of_each_operator(self, run: Run) -> None:
        assert run.artifacts["tflite"].read_bytes()[4:8] == b"TFL3"
        lines = run.artifacts["mapping"].read_text().splitlines()
        assert sum(line.startswith("CONV_2D") for line in lines) == 2
        assert all("Edge TPU" in line or "CPU: " in line for line in lines)

    def test_all_after_the_first_operator_that_the_chip_lacks_is_left_to_the_cpu(self) -> None:
        torch.manual_seed(0)
        run = hwprune(Cumulative(), torch.randn(1, 3, 16, 16), target=TARGET, pattern="channel/4")
        lines = run.artifacts["mapping"].read_text().splitlines()
        lacking = next(place for place, line in enumerate(lines) if "no such operation" in line or "are float" in line)
        before, after = (
            [line for line in part if line.startswith("CONV_2D")] for part in (lines[:lacking], lines[lacking:])
        )
        assert [line.split()[-2:] for line in before] == [["Edge", "TPU"]]
        assert len(after) == 1
        assert "after an operator that runs there" in after[0]
        assert any("the CPU runs the others: the first, " in each for each in run.report.reasons)

    def test_a_batch_is_named_with_its_cure(self) -> None:
        report = hwprune(cnn(), torch.randn(2, 3, 16, 16), target=TARGET, pattern="channel/8").report
        assert any("if one is the batch, give --batch 1" in each for each in report.reasons), report.reasons

    def test_the_report_of_a_compiler_on_the_path_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "report").write_text(REPORT)
        run = run_with_compiler(
            f'cat "{tmp_path}/report"\n'
            'if [ "$1" = --version ]; then exit; fi\n'
            'name=$(basename "$4" .tflite)\n'
            'cp "$4" "$3/${name}_edgetpu.tflite"\n',
            tmp_path,
            monkeypatch,
        )
        evidence = run.report.measurement.evidence
        assert evidence.kind == "compiled"
        assert "edgetpu 16.0.384591198" in (evidence.device or "")
        assert run.artifacts["edgetpu"].stat().st_size > 0
        reasons = " ".join(run.report.reasons)
        assert "4 of 6 operators run on the Edge TPU, by edgetpu_compiler" in reasons
        assert "1 CONV_2D (more than one subgraph is not supported)" in reasons
        assert "6.63MiB of weights do not fit on the chip" in reasons

    def test_a_compiler_that_fails_is_a_result_with_its_last_word(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = run_with_compiler("echo 'Internal compiler error. Aborting!'\n", tmp_path, monkeypatch)
        evidence = run.report.measurement.evidence
        assert evidence.kind == "unavailable"
        assert "Internal compiler error. Aborting!" in (evidence.reason or "")
