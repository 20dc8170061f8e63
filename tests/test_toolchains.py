"""The contract: what every toolchain does, tested through the worker process on real networks."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.choose.effort import FULL
from jupyter_hwprune.core.errors import InputError, MismatchError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export.onnx import export_onnx
from jupyter_hwprune.report import Layer
from jupyter_hwprune.toolchains import (
    cusparselt,
    deepsparse,
    interpreter,
    manifest_of,
    onnxruntime,
    openvino,
    probe,
    shipped,
    tensorrt,
    xla,
)
from jupyter_hwprune.toolchains.contract import Checks, Counts, Meters, Rates, Runs, Simulates, Toolchain
from tests.networks import ZOO, cnn
from tests.reports import timed

WORKER = Path(__file__).parents[1] / "jupyter_hwprune" / "toolchains" / "_worker.py"
TARGET = "cpu"
# which the type checker proves
KEEP_THE_CONTRACT: tuple[Runs, ...] = (onnxruntime, openvino, deepsparse, cusparselt, tensorrt)
ESTIMATE: tuple[Toolchain, ...] = (xla,)
CHECK: tuple[Checks, ...] = (xla,)
RATE: tuple[Rates, ...] = (cusparselt, tensorrt)
METER: tuple[Meters, ...] = (cusparselt, tensorrt)
COUNT: tuple[Counts, ...] = (cusparselt,)
SIMULATE: tuple[Simulates, ...] = (deepsparse,)


class ToolchainContract:
    """Inherit it, name the toolchain, and all of this holds; `runs` stands in for it where there is no GPU."""

    name: str
    runs: str
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
        assert status.versions[self.name]
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
        assert {self.name, "python", "numpy", "torch"} <= set(run.report.versions)
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
        counts = [_threads_of(self.name, wanted, tmp_path) for wanted in (1, threads)]
        assert counts[1] - counts[0] == self.pool_of[threads]

    def test_several_threads_are_judged_by_the_wall_clock(self) -> None:
        report = hwprune(cnn(), torch.randn(2, 3, 16, 16), target=TARGET, toolchain=self.runs, threads=2).report
        assert timed(report).clock == "wall"
        assert report.request.threads == 2


class TestOnnxruntime(CpuContract):
    name = runs = "onnxruntime"


class TestOpenvino(CpuContract):
    name = runs = "openvino"


@pytest.mark.usefixtures("deepsparse_for_a_class")
class TestDeepsparse(CpuContract):
    """In an environment of its own. It runs a small network as one pyramid of layers, tile by tile."""

    name = runs = "deepsparse"
    pool_of: ClassVar = {1: 0, 2: 2}  # beside the caller, which then only waits

    def test_every_layer_has_its_kernel_and_its_time(self, run: Run) -> None:
        layers = {layer.name: layer for layer in run.report.layers}
        assert set(layers) == {"0.0", "1.0", "4"}
        assert all(layer.kernel and layer.used for layer in layers.values())
        assert (layers["0.0"].dense_us or 0) > 0
        assert (layers["0.0"].pruned_us or 0) > 0
        assert layers["0.0"].speed.speedup is not None
        assert layers["0.0"].utilization is not None
        assert layers["0.0"].utilization.pruned
        assert layers["1.0"].dense_us is None
        assert "together with 0.0" in (layers["1.0"].kernel or "")
        assert run.report.other_kernels is not None

    def test_convolutions_run_as_convolutions(self, run: Run) -> None:  # noqa: ARG002 - the contract's
        build, make_input = ZOO["unet"]
        report = hwprune(build(), make_input(), target=TARGET, toolchain=self.runs, pattern="channel/4").report
        assert {layer.name: layer.kernel for layer in report.layers}["deep.0"] == "convolution"

    def test_zeros_that_no_kernel_skips_are_reported_as_not_used(self) -> None:
        """The other way round: here is the runtime that skips them, and says so by name or by utilisation."""
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 64))
        report = hwprune(model, torch.randn(64, 256), target=TARGET, toolchain=self.runs, sparsity=0.9).report
        assert report.request.pattern == "unstructured"
        assert [layer.used for layer in report.layers] == [True, True, True]
        assert all("ks" in (layer.pruned_kernel or "") or over_the_peak(layer) for layer in report.layers)
        assert any("ran a sparse kernel for 3 of 3" in reason for reason in report.reasons)
        assert report.verdict == "faster"
        assert {each.toolchain for each in report.baselines} == {"onnxruntime", "openvino"}
        assert all(each.speed.verdict == "faster" for each in report.baselines)


class TestCusparselt(ToolchainContract):
    """On a stand-in for the GPU: no CUDA kernel runs in these."""

    name, runs = "cusparselt", "tests.fakes.cusparselt_on_cpu"
    target, device, clock = "hopper", "cuda", "wall"
    closeness = 5e-2  # bfloat16


class TestTensorrt(ToolchainContract):
    """On a module in the place of `tensorrt`, constructed after its documents."""

    name, runs = "tensorrt", "tests.fakes.tensorrt_stand_in"
    target, device, clock = "hopper", "cuda", "wall"
    closeness = 5e-2


class EstimateContract:
    """The same of a toolchain that compiles for a chip that is not here, and estimates."""

    name: str
    target: str

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
        assert weights * 2 <= footprint.dense_bytes < weights * 2 * 1.05  # in bfloat16
        assert all(path.stat().st_size > 0 for path in run.artifacts.values())

    def test_zeros_that_no_kernel_skips_change_nothing(self) -> None:
        model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
        report = hwprune(model, torch.randn(256, 256), target=self.target, pattern="128x128", sparsity=0.5).report
        assert report.measurement.kind == "estimated"
        assert report.measurement.pruned == report.measurement.dense

    @pytest.mark.parametrize("name", ["transformer", "mobile", "unet", "two_outputs"])
    def test_other_kinds_of_networks_are_estimated_too(self, name: str) -> None:
        build, make_input = ZOO[name]
        report = hwprune(build(), make_input(), target=self.target, pattern="channel/4").report
        assert report.measurement.kind == "estimated"
        assert report.check is not None


@pytest.mark.usefixtures("xla_for_a_class")
class TestXla(EstimateContract):
    name, target = "xla", "tpu-v5e"


def test_every_shipped_toolchain_has_its_contract_test() -> None:
    contracts: set[type[Any]] = {*ToolchainContract.__subclasses__(), *CpuContract.__subclasses__()} - {CpuContract}
    contracts |= {*EstimateContract.__subclasses__()}
    assert {contract.name for contract in contracts} == set(shipped())


def _threads_of(name: str, threads: int, folder: Path) -> int:
    script = f"""
import importlib, os, sys, types, numpy
package = types.ModuleType("toolchains"); package.__path__ = [{str(WORKER.parent)!r}]
sys.modules["toolchains"] = package
toolchain = importlib.import_module("toolchains.{name}")
toolchain.probe()
x = numpy.zeros((8, 64, 64, 64), numpy.float32)
before = len(os.listdir("/proc/self/task"))
settings = {{"threads": {threads}, "device": "CPU", "batch": None, "keep_files": False}}
artefact = toolchain.compile({str(folder / "m.onnx")!r}, {{"x": x}}, settings, {str(folder)!r})
case = toolchain.load(artefact, {{"x": x}}, settings)
for _ in range(20): case.run()
print(len(os.listdir("/proc/self/task")) - before)
"""
    model = nn.Conv2d(64, 64, 3, padding=1).eval()
    exported = export_onnx(model, Example.of(torch.zeros(8, 64, 64, 64)), folder, "m", opset=manifest_of(name).opset)
    script = script.replace('{"x": x}', f'{{"{exported.input_names[0]}": x}}')
    command = [interpreter(name) or sys.executable, "-I", "-c", script]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def faulty(monkeypatch: pytest.MonkeyPatch, fault: str, **options: Any) -> Run:
    monkeypatch.setenv("HWPRUNE_FAULT", fault)
    image = torch.randn(2, 3, 16, 16)
    return hwprune(cnn(), image, target=TARGET, toolchain="tests.fakes.faulty", pattern="channel/8", **options)


@pytest.mark.parametrize("phase", ["compile", "load", "check", "profile", "measure", "energy"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("segfault", "was killed by SIGSEGV"),
        ("kill", "was killed by SIGKILL (often because memory ran out)"),
        ("exit", "ended with exit code 7"),
        ("raise", "RuntimeError: the vendor's own complaint"),
    ],
)
def test_a_crash_in_any_phase_is_a_result_that_names_it(
    phase: str, fault: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = faulty(monkeypatch, f"{phase}:{fault}")
    evidence = run.report.measurement.evidence
    assert run.report.verdict == "not measured"
    assert evidence.kind == "unavailable"
    assert said in (evidence.reason or "")
    assert f"phase '{phase}'" in (evidence.reason or "")
    assert run.report.layers[0].dense_us is None
    assert sum(p.numel() for p in run.model.parameters()) < sum(p.numel() for p in cnn().parameters())


def test_a_meter_that_is_not_there_says_so_with_its_own_cure_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = faulty(monkeypatch, ":no meter").report
    assert report.measurement.evidence.kind == "measured"
    assert report.energy is not None
    assert report.energy.evidence.reason == "this device has no counter"
    assert report.energy.evidence.cure == "another device"


def test_the_last_words_of_a_crash_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = faulty(monkeypatch, "compile:segfault").report.measurement.evidence.reason
    assert "its last output: the vendor's last word before it dies" in (reason or "")


def test_a_toolchain_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HWPRUNE_PID_FILE", str(tmp_path / "pid"))
    reason = faulty(monkeypatch, "check:hang", timeout_s=8).report.measurement.evidence.reason
    assert "stopped after 8 s, in phase 'check'" in (reason or "")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_a_vendor_that_floods_stdout_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faulty(monkeypatch, "measure:noise").report.measurement.evidence.kind == "measured"


def test_a_probe_that_crashes_is_a_toolchain_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = faulty(monkeypatch, "probe:segfault").report.measurement.evidence
    assert "SIGSEGV" in (evidence.reason or "")
    assert evidence.cure == "no command mends it"


def test_wrong_outputs_are_an_error_that_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MismatchError, match=r"and torch disagree on the dense model.*first in layer 0\.1"):
        faulty(monkeypatch, "check:wrong")


def test_a_dotted_name_that_is_no_module_is_refused() -> None:
    with pytest.raises(InputError, match=r"nobody\.knows"):
        hwprune(cnn(), torch.randn(1, 3, 16, 16), target=TARGET, toolchain="nobody.knows")


def test_the_worker_ends_when_its_caller_dies(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"""
import os, threading, time, signal
from pathlib import Path
import torch
from jupyter_hwprune import hwprune
from tests.networks import cnn
os.environ["HWPRUNE_FAULT"], os.environ["HWPRUNE_PID_FILE"] = "check:hang", {str(pid_file)!r}
def die():
    while not Path({str(pid_file)!r}).exists(): time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=die, daemon=True).start()
hwprune(cnn(), torch.randn(1, 3, 16, 16), target={TARGET!r}, toolchain="tests.fakes.faulty")
"""
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=False)
    worker = Path(f"/proc/{pid_file.read_text()}")
    for _ in range(40):
        if not worker.exists():
            return
        time.sleep(0.05)
    pytest.fail("the worker outlived its caller")


def test_a_product_of_two_activations_is_no_layers_kernel(tmp_path: Path) -> None:
    build, make_input = ZOO["transformer"]
    exported = export_onnx(build().eval(), Example.of(make_input()), tmp_path, "m")
    products = [node for node in exported.nodes.values() if "::MatMul_" in node and node not in exported.layers]
    assert len(products) == 2  # the scores of the attention, and what they weigh
    assert [exported.layers_of([node], "MatMul") for node in products] == [[], []]


@pytest.mark.parametrize(
    "file", [*sorted(path.stem for path in WORKER.parent.glob("_*.py") if path.stem[1] != "_"), *shipped()]
)
def test_what_runs_on_the_toolchains_interpreter_speaks_python_3_8_and_imports_no_vendor_at_the_top(file: str) -> None:
    source = (WORKER.parent / f"{file}.py").read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    top = {
        alias.name.split(".")[0] if isinstance(node, ast.Import) else (node.module or "").split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)  # not a file beside it
        for alias in node.names
    }
    assert top <= set(sys.stdlib_module_names)


def test_an_interrupt_is_heard_while_toolchains_are_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    monkeypatch.setenv("HWPRUNE_FAULT", "probe:hang")
    monkeypatch.setenv("HWPRUNE_PID_FILE", str(pid_file))

    def interrupt() -> None:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        started.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    started: list[float] = []
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        hwprune(cnn(), torch.randn(1, 3, 16, 16), target=TARGET, toolchain="tests.fakes.faulty")
    assert time.monotonic() - started[0] < 1
    assert not Path(f"/proc/{pid_file.read_text()}").exists()
