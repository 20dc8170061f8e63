"""Apache TVM on this machine's CPU, and its compiler for Arm CPUs that are not here."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import tarfile
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.measure import job
from jupyter_hwprune.report.words.line import line
from jupyter_hwprune.toolchains import interpreter, probe
from jupyter_hwprune.toolchains.process import kill_group
from tests.contracts import ARCHITECTURE, CpuContract
from tests.networks import cnn
from tests.reports import timed

QUICK = Effort(min_rounds=3, max_rounds=3, measure_s=0.1, processes=1)


class Servers:
    """TVM's tracker and a server with the key "loop", each a process of its environment on this machine."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as one, socket.socket() as two:
            ports = []
            for each in (one, two):
                each.bind(("127.0.0.1", 0))
                ports.append(each.getsockname()[1])
        self.address = f"127.0.0.1:{ports[0]}"
        self._start("rpc_tracker", ports[0])
        self._until(lambda: socket.create_connection(("127.0.0.1", ports[0]), 1).close())
        self._start("rpc_server", ports[1], "--tracker", self.address, "--key", "loop")
        self._until(lambda: socket.create_connection(("127.0.0.1", ports[1]), 1).close())

    def _start(self, module: str, port: int, *more: str) -> None:
        where = ("--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1))
        command = [interpreter("tvm") or "", "-m", f"tvm.exec.{module}", *where, *more, "--silent"]
        null = subprocess.DEVNULL
        self.processes.append(subprocess.Popen(command, stdout=null, stderr=null, start_new_session=True))

    def _until(self, connect: Callable[[], None]) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError):
                return connect()
            assert self.processes[-1].poll() is None
            time.sleep(0.1)
        raise AssertionError("TVM's server did not start")

    def end(self) -> None:
        for each in self.processes:
            kill_group(each)
            each.wait()


@pytest.fixture
def tracker() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.end()


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self.features(x).mean((2, 3))
        return self.head(pooled), pooled.argmax(1)


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

    def test_tuned_kernels_are_said_and_a_cancelled_tuning_keeps_what_it_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(job, "CACHE", tmp_path)
        torch.manual_seed(0)
        model, tuned = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16)), []
        options: dict[str, Any] = {"toolchain": self.name, "pattern": "channel/8", "sparsity": 0.5, "effort": QUICK}
        options |= {"target": "cpu", "tune_kernels": 0.4}

        def stop(phase: str, detail: str) -> None:
            if phase == "tune" and "kernel 2 of 4" in detail:
                raise CancelledError

        with pytest.raises(CancelledError):
            hwprune(model, torch.randn(4, 64), progress=stop, **options)

        def note(phase: str, detail: str) -> None:
            if phase == "tune":
                tuned.append(detail)

        report = hwprune(model, torch.randn(4, 64), progress=note, **options).report
        rest = {each.partition(":")[0].partition(", ")[2] for each in tuned}
        # the second of the four may have been kept before the cancelled worker ended
        assert rest in ({f"kernel {i} of {left}" for i in range(1, left + 1)} for left in (3, 2))
        assert report.timed is not None
        assert [layer.kernel is not None for layer in report.layers] == [True, True]
        assert report.check is not None
        assert report.check.pruned_error < 1e-4
        said = next(each for each in report.reasons if each.startswith("Tuned"))
        assert "8 schedules of each of the model's 2 kernels here, on 1 thread" in said
        assert not any(each.startswith("Untuned") for each in report.reasons)

    def test_the_arm_librarys_own_outputs_under_qemu_are_those_of_torch(self) -> None:
        lacking = [str(each) for each in probe(self.name).remarks if "Arm" in each.about]
        if lacking:
            pytest.skip(lacking[0])
        torch.manual_seed(0)
        run = hwprune(TwoOutputs(), torch.randn(2, 3, 16, 16), target="arm-cpu", toolchain=self.name)
        check = run.report.check
        assert check is not None
        assert 0 < max(check.dense_error, check.pruned_error) < 1e-4
        assert run.report.measurement.evidence.kind == "compiled"
        assert any("own, computed by qemu" in each for each in run.report.reasons)

    def test_without_qemu_an_arm_library_is_compiled_and_the_packages_are_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for each in ("tar", "gzip"):
            (tmp_path / each).symlink_to(shutil.which(each) or "")
        monkeypatch.setenv("PATH", str(tmp_path))  # no compiler either, so the kernels stay object files in an archive
        run = hwprune(cnn(), torch.randn(1, 3, 16, 16), target="arm-cpu", toolchain=self.name, pattern="channel/8")
        assert run.report.measurement.evidence.kind == "compiled"
        assert run.report.verdict == "not measured"
        assert run.report.check is not None
        assert run.report.check.pruned_error < 1e-4
        (said,) = (each for each in run.report.reasons if "not the Arm library's own" in each)
        assert "no aarch64-linux-gnu-gcc and no qemu-aarch64-static here" in said
        assert "apt install qemu-user-static" in said
        with tarfile.open(run.artifacts["library"]) as archive:
            files = [archive.extractfile(each) for each in archive.getmembers() if each.name.endswith(".o")]
            heads = [file.read(20) for file in files if file is not None]
        assert heads
        assert {struct.unpack_from("<4s14xH", head) for head in heads} == {(b"\x7fELF", 183)}  # AArch64

    def test_a_board_runs_checks_and_times_by_its_own_server(self, tracker: Servers) -> None:
        torch.manual_seed(0)
        run = hwprune(cnn(), torch.randn(2, 3, 16, 16), rpc=tracker.address, rpc_key="loop", **self.on_board)
        report, m = run.report, timed(run.report)
        assert m.clock == "wall"
        assert m.evidence.device == f"the board loop of the tracker at {tracker.address}"
        assert report.check is not None
        assert 0 < max(report.check.dense_error, report.check.pruned_error) < 1e-4
        layers = {layer.name: layer for layer in report.layers}
        assert all((layers[name].dense_us or 0) > (layers[name].pruned_us or 0) > 0 for name in ("0.0", "1.0"))
        assert report.peak_memory is None  # of a process here
        assert any("timed whole by the board's own clock" in each for each in report.reasons)
        assert f"--rpc {tracker.address} --rpc-key loop" in line(report)
        again = hwprune(cnn(), torch.randn(2, 3, 16, 16), rpc=tracker.address, rpc_key="other", **self.on_board)
        assert "has no board other: it has loop" in (again.report.measurement.evidence.reason or "")

    def test_a_board_that_goes_away_is_a_result(self, tracker: Servers) -> None:
        def pull_the_plug(phase: str, detail: str) -> None:
            if phase == "measure":
                tracker.end()

        since = time.monotonic()
        report = hwprune(
            cnn(),
            torch.randn(2, 3, 16, 16),
            rpc=tracker.address,
            rpc_key="loop",
            progress=pull_the_plug,
            **self.on_board | {"effort": Effort(min_rounds=100_000, max_rounds=100_000)},
        ).report
        assert report.verdict == "not measured"
        reason = report.measurement.evidence.reason or ""
        assert f"the board loop of the tracker at {tracker.address} failed, or is gone" in reason
        assert time.monotonic() - since < 120
        absent = hwprune(cnn(), torch.randn(2, 3, 16, 16), rpc=tracker.address, rpc_key="loop", **self.on_board)
        assert "no tracker of TVM answers at" in (absent.report.measurement.evidence.reason or "")

    on_board: ClassVar[dict[str, Any]] = {
        "target": "cpu",
        "toolchain": "tvm",
        "pattern": "channel/8",
        "sparsity": 0.5,
        "effort": QUICK,
    }

    def test_an_operator_that_it_lacks_is_named(self) -> None:
        report = hwprune(
            nn.LSTM(8, 16), torch.randn(4, 1, 8), target="cpu", toolchain=self.name, pattern="unstructured"
        ).report
        assert report.verdict == "not measured"
        assert "LSTM" in (report.measurement.evidence.reason or "")

    def test_tuning_is_refused_where_nothing_can_be_timed(self) -> None:
        with pytest.raises(InputError, match=r"times schedules on Arm 64-bit CPU .* cannot: .*timed where the chip is"):
            hwprune(cnn(), torch.randn(1, 3, 16, 16), target="arm-cpu", toolchain=self.name, tune_kernels=5.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tune_kernels": 5.0}, "--tune-kernels 5: onnxruntime does not tune its kernels\\. Take --toolchain tvm"),
        ({"tune_kernels": 0}, "--tune-kernels is 0; it is a number of seconds above 0"),
        ({"tune_kernels": 1800.0}, "leaves no time to measure within --timeout 1800"),
        ({"rpc": "board:9090"}, "--rpc board:9090: onnxruntime has no server for a board. Take --toolchain tvm"),
        ({"rpc": "board"}, "--rpc is 'board'; give HOST:PORT"),
        ({"rpc_key": "rasp4"}, "--rpc-key rasp4 names a board of a tracker. Add the tracker's --rpc"),
        ({"rpc": "board:9090", "tune_kernels": 5.0}, "tries schedules on this machine, and --rpc board:9090 runs"),
        ({"tune_kernels": 5.0, "speedup": 2.0}, "would tune the kernels of every model that the search"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_cure(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        hwprune(cnn(), torch.randn(1, 3, 16, 16), target="x86-cpu", toolchain="onnxruntime", **options)
