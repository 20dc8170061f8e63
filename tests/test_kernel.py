"""A real Jupyter kernel: the progress line, the forms of the output, and an interrupt."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from jupyter_hwprune.notebook import progress
from jupyter_hwprune.notebook.lab import COMM_TARGET
from jupyter_hwprune.report import MIME_TYPE

ROOT = Path(__file__).parents[1]
SETUP = """
import torch
from tests.networks import cnn
from tests.conftest import fingerprint
net, x = cnn(), torch.randn(2, 3, 16, 16)
mark = fingerprint(net)
%load_ext jupyter_hwprune
"""


class Kernel:
    def __init__(self, client: Any, manager: Any) -> None:
        self.client, self.manager = client, manager

    def run(
        self, code: str, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Run a cell; return the reply and the messages it published."""
        request = self.client.execute(code)
        meanwhile()
        messages = []
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") != request:
                continue
            messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while True:  # a slow start leaves answers to earlier questions behind
            reply = self.client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == request:
                return reply["content"], messages

    def value(self, expression: str) -> str:
        _, messages = self.run(expression)
        [result] = [m for m in messages if m["msg_type"] == "execute_result"]
        return str(result["content"]["data"]["text/plain"])


@contextlib.contextmanager
def panel(kernel: Kernel) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Ask as the lab extension does: a comm for each question, on a subshell."""
    client = BlockingKernelClient()
    client.load_connection_info(kernel.manager.get_connection_info())
    client.start_channels()
    client.control_channel.send(client.session.msg("create_subshell_request"))
    subshell = client.control_channel.get_msg(timeout=10)["content"]["subshell_id"]

    def ask(subject: str) -> dict[str, Any]:
        content = {"comm_id": uuid4().hex, "target_name": COMM_TARGET, "data": {"subject": subject}}
        message = client.session.msg("comm_open", content)
        message["header"]["subshell_id"] = subshell
        client.shell_channel.send(message)
        while True:
            heard = client.get_iopub_msg(timeout=30)
            own = heard["parent_header"].get("msg_id") == message["header"]["msg_id"]
            if own and heard["msg_type"] == "comm_msg":
                answer: dict[str, Any] = heard["content"]["data"]
                return answer

    yield ask
    client.stop_channels()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kernel]:
    monkeypatch.setenv("HWPRUNE_PID_FILE", str(tmp_path / "pid"))
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(ROOT), extra_arguments=["--IPKernelApp.log_level=ERROR"])
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    kernel = Kernel(client, manager)
    reply, _ = kernel.run(SETUP)
    assert reply["status"] == "ok"
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def test_one_line_of_progress_updates_itself_and_the_report_comes_in_every_form(kernel: Kernel) -> None:
    _, messages = kernel.run("%hwprune net --input x --target cpu --toolchain onnxruntime")
    displays = [m for m in messages if m["msg_type"] == "display_data"]
    updates = [m for m in messages if m["msg_type"] == "update_display_data"]
    assert len(displays) == 1
    identity = displays[0]["content"]["transient"]["display_id"]
    assert {m["content"]["transient"]["display_id"] for m in updates} == {identity}
    said = [m["content"]["data"]["text/plain"] for m in (*displays, *updates)]
    order = [
        phase
        for phase in ("prune", "export", "compile", "load", "check", "profile", "measure")
        if any(phase in s for s in said)
    ]
    assert order == ["prune", "export", "compile", "load", "check", "profile", "measure"]
    assert "hwprune: net for" in said[-1]
    [result] = [m for m in messages if m["msg_type"] == "execute_result"]
    assert set(result["content"]["data"]) == {"text/plain", "text/html", "image/png", MIME_TYPE}
    assert not [m for m in messages if m["msg_type"] == "stream"]


def test_the_progress_line_says_the_same_as_data(kernel: Kernel) -> None:
    _, messages = kernel.run("%hwprune net --input x --target cpu --toolchain onnxruntime")
    shown = [m["content"]["data"] for m in messages if m["msg_type"] in {"display_data", "update_display_data"}]
    steps = [data[progress.MIME_TYPE] for data in shown]
    assert {"text/plain", "text/html"} < set(shown[0])
    assert [step["state"] for step in steps] == ["running"] * (len(steps) - 1) + ["done"]
    phases = dict.fromkeys(step["phase"] for step in steps if step["phase"] != "confirm")  # only a doubt is confirmed
    assert list(phases) == [
        "find",
        "prune",
        "export",
        "compile",
        "load",
        "check",
        "profile",
        "measure",
        "peak",
    ]
    times = [step["elapsed_s"] for step in steps]
    assert times == sorted(times)
    assert all(step["summary"] is None for step in steps[:-1])
    assert steps[-1]["summary"] in shown[-1]["text/plain"]
    assert {step["version"] for step in steps} == {1}


def test_progress_says_that_a_run_was_stopped_and_where(kernel: Kernel) -> None:
    _, messages = kernel.run("%hwprune net --input x --target cpu --pattern channel/99999999999")
    shown = [m["content"]["data"] for m in messages if m["msg_type"] in {"display_data", "update_display_data"}]
    last = shown[-1][progress.MIME_TYPE]
    assert last["state"] == "stopped"
    assert last["summary"] == f"stopped in phase {last['phase']}"


def test_the_panel_is_answered_on_a_subshell_while_a_cell_runs_and_takes_nothing_from_it(
    kernel: Kernel, tmp_path: Path
) -> None:
    """The cell's own figure is the sign: whatever ends in `post_execute` shows and closes it before its time."""
    flag = tmp_path / "waiting"
    kernel.run("%matplotlib inline\nimport matplotlib.pyplot as plt, pathlib, time")
    kernel.run(f"flag = pathlib.Path({str(flag)!r})")
    answers: list[dict[str, Any]] = []

    def ask_meanwhile() -> None:
        with panel(kernel) as ask:
            while not flag.exists():
                time.sleep(0.02)
            answers.extend([ask("namespace"), ask("choices"), ask("no such subject")])
        flag.unlink()

    cell = "plt.plot([1, 2]); flag.touch()\nwhile flag.exists(): time.sleep(0.01)\nplt.title('t'); plt.get_fignums()"
    reply, messages = kernel.run(cell, ask_meanwhile)
    [result] = [m for m in messages if m["msg_type"] == "execute_result"]
    assert result["content"]["data"]["text/plain"] == "[1]"
    assert len([m for m in messages if m["msg_type"] == "display_data"]) == 1
    assert reply["execution_count"] == 4  # the setup, the two lines above, and this cell
    namespace, choices, nothing = answers
    assert [model["name"] for model in namespace["models"]] == ["net"]
    assert "tpu-v5e" in [target["name"] for target in choices["targets"]]
    assert nothing == {}


def test_an_interrupt_ends_the_worker_within_a_second_and_leaves_all_as_it_was(kernel: Kernel, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    kernel.run("import os; os.environ['HWPRUNE_FAULT'] = 'check:hang'; names = set(globals())")
    ended: list[float] = []

    def interrupt() -> None:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        worker = Path(f"/proc/{pid_file.read_text()}")
        assert worker.exists()
        start = time.monotonic()
        kernel.manager.interrupt_kernel()
        while worker.exists():
            assert time.monotonic() - start < 10
            time.sleep(0.01)
        ended.append(time.monotonic() - start)

    reply, messages = kernel.run("%hwprune net --input x --target cpu --toolchain tests.fakes.faulty", interrupt)
    assert reply["status"] == "error"
    assert reply["traceback"] == ["KeyboardInterrupt: stopped; the worker has ended and nothing was changed."]
    assert ended[0] < 1
    said = [m["content"]["data"]["text/plain"] for m in messages if "display_data" in m["msg_type"]]
    assert "interrupted in phase" in said[-1]
    [last] = [m["content"]["data"][progress.MIME_TYPE] for m in messages if "display_data" in m["msg_type"]][-1:]
    assert (last["state"], last["summary"]) == ("stopped", f"interrupted in phase {last['phase']}")
    assert kernel.value("fingerprint(net) == mark") == "True"
    assert kernel.value("sorted(n for n in set(globals()) - names if not n.startswith('_') and n != 'names')") == "[]"
    kernel.run("os.environ['HWPRUNE_FAULT'] = ''")
    reply, _ = kernel.run("%hwprune net --input x --target cpu --toolchain onnxruntime")
    assert reply["status"] == "ok"


def test_an_interrupt_of_the_confirmation_keeps_the_first_answer(kernel: Kernel, tmp_path: Path) -> None:
    """Zeros gain nothing in a dense kernel, so the first process leaves a doubt."""
    pid_file = tmp_path / "pid"
    kernel.run("import os; os.environ['HWPRUNE_FAULT'] = 'compile:hang in the next'")

    def interrupt() -> None:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        kernel.manager.interrupt_kernel()

    line = "%hwprune net --input x --target cpu --toolchain tests.fakes.faulty --pattern unstructured --sparsity 0.5"
    reply, messages = kernel.run(f"run = {line}", interrupt)
    assert reply["status"] == "ok"
    assert not Path(f"/proc/{pid_file.read_text()}").exists()
    last = [m["content"]["data"][progress.MIME_TYPE] for m in messages if "display_data" in m["msg_type"]][-1]
    assert last["state"] == "done"
    assert kernel.value("run.report.timed.interrupted, len(run.report.timed.rounds)") == "(3, 1)"
    assert kernel.value("'interrupted after process 1 of 3' in ' '.join(str(run).split())") == "True"


def test_an_error_is_one_paragraph_in_a_kernel_too(kernel: Kernel) -> None:
    reply, _ = kernel.run("%hwprune net --target toaster")
    assert reply["status"] == "error"
    shown = "\n".join(reply["traceback"])
    assert shown.startswith("InputError: There is no target 'toaster'")
    assert "File " not in shown


def test_a_full_disk_is_one_paragraph(kernel: Kernel) -> None:
    """A limit on the size of files stands in for a full disk: both fail the write of the model."""
    kernel.run("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))")
    reply, _ = kernel.run("%hwprune net --input x --target cpu --toolchain onnxruntime")
    assert reply["status"] == "error"
    shown = "\n".join(reply["traceback"])
    assert "temporary folder" in shown
    assert "cannot be used" in shown
    assert kernel.value("fingerprint(net) == mark") == "True"
