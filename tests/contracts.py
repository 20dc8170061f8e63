"""What every toolchain does, tested through the worker process on real networks: inherit the class that fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.choose.effort import FULL
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export.cases import Case
from jupyter_hwprune.export.onnx import export_onnx
from jupyter_hwprune.export.program import export_program
from jupyter_hwprune.report import Layer
from jupyter_hwprune.toolchains import interpreter, manifest_of, probe
from jupyter_hwprune.toolchains._host import architecture
from tests.networks import ZOO, cnn
from tests.reports import timed

WORKER = Path(__file__).parents[1] / "jupyter_hwprune" / "toolchains" / "_worker.py"
TARGET = "cpu"
ARCHITECTURE = architecture()


class ToolchainContract:
    """Inherit it, name the toolchain, and all of this holds; `runs` stands in for it where there is no GPU."""

    name: str
    runs: str
    package = ""  # whose version it says, where that is not its name
    target = TARGET
    device = "CPU"
    clock = "cpu"
    closeness = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        torch.manual_seed(0)
        return hwprune(cnn(), torch.randn(2, 3, 16, 16), target=cls.target, toolchain=cls.runs, pattern="channel/8")

    def test_it_says_its_versions_and_devices(self) -> None:
        status = probe(self.runs)
        assert status.available
        assert status.versions[self.package or self.name]
        assert self.device in status.devices

    def test_outputs_are_those_of_torch(self, run: Run) -> None:
        check = run.report.check
        assert check is not None
        assert 0 < max(check.dense_error, check.pruned_error) < self.closeness  # other kernels, so never all equal

    def test_every_layer_has_its_kernel_and_its_time(self, run: Run) -> None:
        layers = {layer.name: layer for layer in run.report.layers}
        assert set(layers) == {"0.0", "1.0", "4"}
        for layer in layers.values():
            assert layer.kernel
            assert layer.used is True
        for name in ("0.0", "1.0"):  # the last layer may be too small for the vendor's clock
            assert (layers[name].dense_us or 0) > 0
            assert (layers[name].pruned_us or 0) > 0
            assert layers[name].speed.speedup is not None
        assert run.report.other_kernels is not None

    def test_samples_are_raw_paired_and_on_both_clocks(self, run: Run) -> None:
        m = timed(run.report)
        assert m.evidence.kind == "measured"
        assert m.evidence.device
        lengths = {len(s) for case in (m.dense, m.control, m.pruned) for s in (case.wall_ms, case.cpu_ms)}
        assert lengths == {sum(m.rounds)}
        assert min(m.rounds) >= FULL.min_rounds
        assert m.clock == self.clock
        assert m.comparison.speedup is not None

    def test_versions_and_machine_stand_beside_the_numbers(self, run: Run) -> None:
        assert {self.package or self.name, "python", "numpy", "torch"} <= set(run.report.versions)
        assert run.report.machine is not None
        assert run.report.machine.cores >= 1

    def test_the_compilers_files_last_as_long_as_the_run(self, run: Run) -> None:
        assert {"onnx", "pt2"} & set(run.artifacts)  # what was given to the compiler, beside what it made
        assert len(run.artifacts) > 1
        assert all(path.stat().st_size > 0 for path in run.artifacts.values())

    def test_zeros_that_no_kernel_skips_are_reported_as_not_used(self) -> None:
        report = hwprune(
            cnn(),
            torch.randn(2, 3, 16, 16),
            target=self.target,
            toolchain=self.runs,
            pattern="unstructured",
            sparsity=0.9,
        ).report
        assert [layer.used for layer in report.layers] == [False, False, False]
        assert all(layer.valid for layer in report.layers)
        assert any("multiply every zero" in each.what for each in report.mistakes)

    @pytest.mark.parametrize("name", ["transformer", "mobile", "unet", "two_outputs"])
    def test_other_kinds_of_networks_map_back_to_their_layers(self, name: str) -> None:
        build, make_input = ZOO[name]
        report = hwprune(build(), make_input(), target=self.target, toolchain=self.runs, pattern="channel/4").report
        assert report.measurement.evidence.kind == "measured"
        unmapped = {layer.name for layer in report.layers if layer.kernel is None and layer.kind != "Embedding"}
        assert not unmapped  # a lookup of rows is no kernel of its own in some engines

    def test_an_mlp_and_a_lone_layer_map_back_too(self) -> None:
        mlp = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
        x = torch.randn(2, 8)
        for model in (mlp, nn.Linear(8, 8)):
            report = hwprune(model, x, target=self.target, toolchain=self.runs, pattern="1:8").report
            assert report.layers
            assert [layer.kernel for layer in report.layers if layer.kernel is None] == []


def over_the_peak(layer: Layer) -> bool:
    return layer.utilization is not None and (layer.utilization.pruned or 0) > 1


class CpuContract(ToolchainContract):
    """What holds beside it for a toolchain of this machine's CPU; `pool_of` is the threads that so many ask for."""

    pool_of: ClassVar = {1: 0, 2: 1}

    def test_convolutions_run_as_convolutions(self, run: Run) -> None:
        assert "onv" in (next(layer for layer in run.report.layers if layer.name == "1.0").kernel or "")

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_honoured(self, threads: int, tmp_path: Path) -> None:
        """Count the process's threads while a session lives: one more thread of ours is one more in the process."""
        counts = [_threads_of(self.name, self.device, wanted, tmp_path) for wanted in (1, threads)]
        assert counts[1] - counts[0] == self.pool_of[threads]

    def test_several_threads_are_judged_by_the_wall_clock(self) -> None:
        report = hwprune(cnn(), torch.randn(2, 3, 16, 16), target=TARGET, toolchain=self.runs, threads=2).report
        assert timed(report).clock == "wall"
        assert report.request.threads == 2


class NetworksContract:
    """Networks of several kinds are estimated, and what was compiled of them is checked."""

    target: str

    @pytest.mark.parametrize("name", ["transformer", "mobile", "unet", "two_outputs"])
    def test_other_kinds_of_networks_are_estimated_too(self, name: str) -> None:
        build, make_input = ZOO[name]
        report = hwprune(build(), make_input(), target=self.target, pattern="channel/4").report
        assert report.measurement.kind == "estimated"
        assert report.check is not None


class EstimateContract(NetworksContract):
    """The same of a toolchain that compiles for a chip that is not here, and estimates."""

    name: str
    target: str
    bytes_of_weight: ClassVar[tuple[float, float]] = (2, 2.1)  # in bfloat16

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(512, 2048), nn.LayerNorm(2048), nn.GELU(), nn.Linear(2048, 512)).eval()
        return hwprune(model, torch.randn(512, 512), target=cls.target, toolchain=cls.name, pattern="channel/128")

    @pytest.mark.smoke
    def test_half_the_channels_are_estimated_as_faster_and_get_no_verdict(self, run: Run) -> None:
        measurement = run.report.measurement
        assert measurement.kind == "estimated"
        assert measurement.evidence.kind == "compiler-estimate"
        assert 0 < measurement.pruned < measurement.dense
        assert run.report.verdict == "not measured"
        layers = {layer.name: layer.estimate for layer in run.report.layers}
        assert all(each is not None and 0 < each.pruned < each.dense for each in layers.values())
        assert sum(each.dense for each in layers.values() if each) <= measurement.dense * (1 + 1e-9)
        assert {"python", "torch"} < set(run.report.versions)

    def test_what_it_compiled_computes_what_torch_does(self, run: Run) -> None:
        check = run.report.check
        assert check is not None
        assert 0 < max(check.dense_error, check.pruned_error) < check.tolerance

    def test_it_takes_half_the_memory_and_leaves_its_files(self, run: Run) -> None:
        footprint = run.report.footprint
        assert footprint is not None
        weights = sum(layer.shape[0] * layer.shape[1] for layer in run.report.layers)
        assert footprint.dense_bytes is not None
        least, most = self.bytes_of_weight
        assert weights * least <= footprint.dense_bytes < weights * most
        assert all(path.stat().st_size > 0 for path in run.artifacts.values())

    def test_zeros_that_no_kernel_skips_change_nothing(self) -> None:
        model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
        report = hwprune(model, torch.randn(256, 256), target=self.target, pattern="unstructured", sparsity=0.5).report
        assert report.measurement.kind == "estimated"
        assert report.measurement.pruned == report.measurement.dense


def _threads_of(name: str, device: str, threads: int, folder: Path) -> int:
    script = f"""
import importlib, os, sys, types, numpy
package = types.ModuleType("toolchains"); package.__path__ = [{str(WORKER.parent)!r}]
sys.modules["toolchains"] = package
toolchain = importlib.import_module("toolchains.{name}")
toolchain.probe()
x = numpy.zeros((8, 64, 64, 64), numpy.float32)
before = len(os.listdir("/proc/self/task"))
settings = {{"threads": {threads}, "device": "{device}", "batch": None, "keep_files": False, "tune_s": 0.0, "rpc": ""}}
artefact = toolchain.compile({str(folder / "m.onnx")!r}, {{"x": x}}, settings, {str(folder)!r})
case = toolchain.load(artefact, {{"x": x}}, settings)
for _ in range(20): case.run()
print(len(os.listdir("/proc/self/task")) - before)
"""
    model, example = nn.Conv2d(64, 64, 3, padding=1).eval(), Example.of(torch.zeros(8, 64, 64, 64))
    manifest = manifest_of(name)
    if manifest.takes == "program":
        exported: Case = export_program(model, example, folder, "m", "float32")
    else:
        exported = export_onnx(model, example, folder, "m", opset=manifest.opset)
    script = script.replace('{"x": x}', f'{{"{exported.input_names[0]}": x}}').replace("m.onnx", exported.model.name)
    command = [interpreter(name) or sys.executable, "-I", "-c", script]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
