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
from jupyter_hwprune.core.errors import InputError, MismatchError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export.onnx import export_onnx
from jupyter_hwprune.toolchains import (
    cusparselt,
    deepsparse,
    edgetpu,
    ethos_u,
    executorch,
    file_called,
    iree,
    litert,
    manifest_of,
    onnxruntime,
    openvino,
    qnn,
    rknn,
    shipped,
    tensorrt,
    tvm,
    xla,
)
from jupyter_hwprune.toolchains.contract import (
    Checks,
    Counts,
    Meters,
    Quantises,
    Rates,
    Runs,
    Simulates,
    Toolchain,
    Tunes,
)
from tests.contracts import TARGET, WORKER, CpuContract, ToolchainContract, over_the_peak
from tests.networks import ZOO, cnn

# which the type checker proves
KEEP_THE_CONTRACT: tuple[Runs, ...] = (
    onnxruntime,
    openvino,
    deepsparse,
    executorch,
    iree,
    litert,
    tvm,
    xla,
    cusparselt,
    tensorrt,
)
NOT_RUN: tuple[Toolchain, ...] = (ethos_u, rknn, qnn, edgetpu)
CHECK: tuple[Checks, ...] = (ethos_u, executorch, rknn, xla, iree, litert, tvm, qnn, edgetpu)
TUNE: tuple[Tunes, ...] = (tvm,)
QUANTISE: tuple[Quantises, ...] = (onnxruntime, openvino, executorch, litert)
RATE: tuple[Rates, ...] = (cusparselt, tensorrt)
METER: tuple[Meters, ...] = (cusparselt, tensorrt)
COUNT: tuple[Counts, ...] = (cusparselt,)
SIMULATE: tuple[Simulates, ...] = (deepsparse,)
CHECKED: dict[str, tuple[Any, ...]] = {
    "runs": KEEP_THE_CONTRACT,
    "checks": CHECK,
    "tunes": TUNE,
    "quantises": QUANTISE,
    "rates": RATE,
    "meter": METER,
    "counts": COUNT,
    "simulates": SIMULATE,
}


@pytest.mark.parametrize("able", CHECKED)
def test_the_type_checker_sees_every_function_that_a_manifest_promises(able: str) -> None:
    stems = {str(vars(module)["__name__"]).rpartition(".")[2].replace("_", "-") for module in CHECKED[able]}
    assert stems == {name for name in shipped() if getattr(manifest_of(name), able)}


class TestOnnxruntime(CpuContract):
    name = runs = "onnxruntime"


class TestOpenvino(CpuContract):
    name = runs = "openvino"


@pytest.mark.usefixtures("environment_of_the_class")
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


def test_every_shipped_toolchain_has_tests_of_its_own() -> None:
    """A class in some file here that sets the toolchain's name, and inherits a contract or runs in its environment."""
    files = [ast.parse(file.read_text()) for file in Path(__file__).parent.glob("test_*.py")]
    classes = [node for file in files for node in file.body if isinstance(node, ast.ClassDef)]
    marks = [(each, " ".join(map(ast.unparse, (*each.bases, *each.decorator_list)))) for each in classes]
    own = [each for each, mark in marks if "Contract" in mark or "environment_of_the_class" in mark]
    settings = [node for each in own for node in each.body if isinstance(node, ast.Assign)]
    set_there = {node.value for each in settings for node in ast.walk(each.value) if isinstance(node, ast.Constant)}
    assert set(shipped()) <= set_there


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
    "file",
    [*sorted(path.stem for path in WORKER.parent.glob("_*.py") if path.stem[1] != "_"), *shipped()],
)
def test_what_runs_on_the_toolchains_interpreter_speaks_python_3_8_and_imports_no_vendor_at_the_top(file: str) -> None:
    source = file_called(file).read_text()
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
