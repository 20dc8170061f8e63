"""The panel through a real kernel: its widgets filled in and clicked by messages, as a front end does it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.options import OPTIONS
from jupyter_hwprune.report import MIME_TYPE
from tests.front import ROOT, Front

FAULTY = "tests.fakes.faulty"
WIDGET = "application/vnd.jupyter.widget-view+json"
SETUP = """
import os, random, signal, threading, time, warnings
import numpy as np
import torch
from torch import nn
from tests.networks import cnn
from tests.conftest import fingerprint
torch.manual_seed(0)
net, x = cnn(), torch.randn(2, 3, 16, 16)
mark, same_x = fingerprint(net), x.clone()
%load_ext jupyter_hwprune
"""
RESET = """
import sys
if 'ipywidgets' in sys.modules:
    sys.modules['jupyter_hwprune.notebook.panel']._PANELS.clear()
    sys.modules['ipywidgets'].Widget.close_all()
%reset -f
"""
# what a run or a cancel must leave as it is
UNTOUCHED = (
    "fingerprint(net) == mark and torch.equal(x, same_x) and 'run' not in globals() "
    "and not [t for t in threading.enumerate() if t.name == 'hwprune']"
)


DRAWING = """
class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = cnn()
    def forward(self, x):
        return self.inner(x + 0 * torch.randn_like(x))
noisy, scored = Noisy(), []
def score(model):
    scored.append((random.random(), np.random.rand(), torch.rand(()).item()))
    return 1.0
def seed():
    global trained, optimiser
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    trained = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 1)).train()
    optimiser = torch.optim.SGD(trained.parameters(), lr=1e-3)
def play(steps):
    drawn = []
    for _ in range(steps):
        loss = trained(torch.rand(4, 8)).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        drawn += [loss.item(), random.random(), float(np.random.rand())]
    return drawn
seed()
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Front]:
    front = Front()
    yield front
    front.close()


@pytest.fixture
def front(kernel: Front, tmp_path: Path) -> Front:
    """A notebook as it is opened: in one kernel for all tests, where nothing is left of the one before."""
    kernel.run(RESET)
    assert kernel.run(SETUP)["status"] == "ok"
    assert kernel.run(f"os.environ.update(HWPRUNE_FAULT='', HWPRUNE_PID_FILE={str(tmp_path / 'pid')!r})")
    for said in (kernel.widgets, kernel.displays, kernel.printed):
        said.clear()
    return kernel


class Worker:
    """The worker that hangs, where HWPRUNE_FAULT has it hang."""

    def __init__(self, pid_file: Path) -> None:
        self._file = pid_file

    def wait_for(self) -> None:
        while not (self._file.exists() and self._file.read_text()):
            time.sleep(0.02)
        self._path = Path(f"/proc/{self._file.read_text()}")
        assert self._path.exists()

    def assert_ends_within(self, seconds: float) -> None:
        start = time.monotonic()
        while self._path.exists():
            assert time.monotonic() - start < seconds, f"the worker lives {seconds} s after its run was cancelled"
            time.sleep(0.02)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "pid")


def open_panel(front: Front, toolchain: str = "onnxruntime") -> None:
    assert front.run("%hwprune panel")["status"] == "ok"
    front.until(lambda: "measured here with" in front.pages())
    front.fill("Toolchain", toolchain)


def wait_for_report(front: Front) -> dict[str, Any]:
    front.until(lambda: any(MIME_TYPE in data for data in front.displays.values()) or 'role="alert"' in front.pages())
    assert 'role="alert"' not in front.pages(), front.pages()
    [report] = [data for data in front.displays.values() if MIME_TYPE in data]
    return report


def test_the_form_comes_filled_in_and_says_what_can_be_measured_once_that_is_known(front: Front) -> None:
    front.run("%hwprune panel")
    assert front.field("Model")["_options_labels"] == ["net: Sequential, 16,778 parameters"]
    assert front.field("Example input")["value"] == "x"
    assert front.field("Same as")["value"] == "%hwprune net --input x -o run"
    front.until(lambda: "measured here with onnxruntime or openvino" in front.pages())
    front.fill("Target", "hopper")
    assert "hopper: pruned and checked, but not measured here" in front.pages()
    assert "To fix this:" in front.pages()
    assert [label for label in front.field("Target")["_options_labels"] if "(not here)" in label]
    for label in ("Score", "Calibrate with", "Keep as", "Threads", "Pattern", "Sparsity", "Importance", "Allocation"):
        assert not front.field(label)["disabled"]
    shown = [field for widget in front.widgets.values() for field in widget.get("children", ())]
    for option in (option for option in OPTIONS.values() if option.label):
        [place] = [key for key, each in front.widgets.items() if each.get("description") == option.label]
        assert f"IPY_MODEL_{place}" in shown, option.label


def test_the_line_follows_the_fields_and_what_is_typed_into_it_goes_again(front: Front) -> None:
    open_panel(front)
    front.fill("Pattern", "2:4")
    front.fill("Score", "accuracy(net, 2)")
    expected = "%hwprune net --input x --pattern 2:4 --toolchain onnxruntime --eval 'accuracy(net, 2)' -o run"
    assert front.field("Same as")["value"] == expected
    front.fill("Same as", "%hwprune other")
    front.until(lambda: front.field("Same as")["value"] == expected)


def test_the_form_and_its_line_do_the_same(front: Front) -> None:
    front.run("def accuracy(model):\n    return float(model(x).detach().square().sum())")
    open_panel(front)
    front.fill("Pattern", "2:4")
    front.fill("Importance", "second-order")
    front.fill("Score", "accuracy")
    line = front.field("Same as")["value"]
    front.click("Run")
    report = wait_for_report(front)
    front.until(lambda: "Done:" in front.pages())
    assert front.run(line.replace("-o run", "-o other;"))["status"] == "ok"
    same = (
        "run.report.request == other.report.request",
        "run.report.fingerprints == other.report.fingerprints",
        "[layer.sparsity for layer in run.report.layers] == [layer.sparsity for layer in other.report.layers]",
        "run.report.scores == other.report.scores",
        "run.report.measurement.evidence == other.report.measurement.evidence",
        "fingerprint(net) == mark",
    )
    assert {what: front.value(what) for what in same} == dict.fromkeys(same, True)
    assert set(report) == {"text/plain", "text/html", "image/png", MIME_TYPE}
    assert front.printed == []


def test_the_form_stays_after_a_run_and_a_saved_notebook_shows_its_line_and_the_report(front: Front) -> None:
    open_panel(front)
    assert [
        data for data in front.displays.values() if WIDGET not in data and "report will appear" in data["text/html"]
    ]
    front.fill("Sparsity", "0.6")
    line = front.field("Same as")["value"]
    front.click("Run")
    wait_for_report(front)
    front.until(lambda: "Done:" in front.pages())
    first, report = front.displays.values()
    assert set(first) == {"text/plain", "text/html", WIDGET}
    assert first["text/plain"].endswith(line)
    assert not front.field("Run")["disabled"]
    front.fill("Sparsity", "0.7")  # another question than the one that was answered
    assert "Done:" not in front.pages()
    front.fill("Sparsity", "0.6")
    front.displays.clear()
    front.run("import jupyter_hwprune; jupyter_hwprune.panel()")
    moved, form, last = front.displays.values()
    assert WIDGET not in moved
    assert WIDGET in form
    assert last == report
    assert front.field("Same as")["value"] == line


@pytest.mark.parametrize("busy", [False, True], ids=["while nothing else runs", "while a cell runs"])
def test_cancel_ends_the_worker_within_two_seconds_and_leaves_all_as_it_was(
    front: Front, worker: Worker, busy: bool
) -> None:
    front.run("os.environ['HWPRUNE_FAULT'] = 'check:hang'")
    open_panel(front, FAULTY)
    front.click("Run")
    worker.wait_for()
    assert front.field("Run")["disabled"]
    cell = front.start("time.sleep(6); ended = time.monotonic()" if busy else "")
    front.click("Cancel")
    worker.assert_ends_within(2)
    front.until(lambda: "Cancelled after" in front.pages(), 2)
    assert not front.field("Run")["disabled"]
    assert front.end(cell)["status"] == "ok"
    front.until(lambda: front.value(UNTOUCHED))
    assert front.printed == []
    front.run("os.environ['HWPRUNE_FAULT'] = ''")
    front.click("Run")
    wait_for_report(front)
    assert front.value("run.report.request.toolchain") == FAULTY


def test_where_a_click_has_to_wait_for_a_cell_the_panel_says_beforehand_how_to_cancel(
    front: Front, worker: Worker
) -> None:
    front.run(
        "import ipykernel.comm.comm as c; way = c.BaseComm._reply_subshell_for; del c.BaseComm._reply_subshell_for"
    )
    front.run("os.environ['HWPRUNE_FAULT'] = 'check:hang'")
    open_panel(front, FAULTY)
    front.click("Run")
    worker.wait_for()
    assert "Interrupting the kernel ends the run at once" in front.pages()
    front.run("c.BaseComm._reply_subshell_for = way")
    front.click("Cancel")
    worker.assert_ends_within(2)


@pytest.mark.parametrize(
    "where", ["def accuracy(model):\n    while True: pass", "def accuracy(model):\n    time.sleep(1)"]
)
def test_cancel_ends_the_users_own_score_too(front: Front, where: str) -> None:
    front.run(f"{where}\n    return 1.0")
    open_panel(front)
    front.fill("Score", "accuracy")
    front.click("Run")
    front.until(lambda: "<b>prune</b>" in front.pages())
    time.sleep(0.5)
    front.click("Cancel")
    front.until(lambda: "Cancelled after" in front.pages(), 2)
    front.until(lambda: front.value(UNTOUCHED))
    assert front.printed == []


def test_cancel_of_a_confirmation_keeps_the_first_answer(front: Front, worker: Worker) -> None:
    front.run("os.environ['HWPRUNE_FAULT'] = 'compile:hang in the next'")
    open_panel(front, FAULTY)
    front.fill("Pattern", "unstructured")
    front.click("Run")
    worker.wait_for()
    front.click("Cancel")
    worker.assert_ends_within(2)
    report = wait_for_report(front)
    assert "interrupted after process 1 of 3" in " ".join(report["text/plain"].split())


@pytest.mark.parametrize("busy", ["", "time.sleep(60)", "import asyncio; await asyncio.sleep(60)"])
def test_an_interrupt_of_the_kernel_cancels_as_well_and_still_ends_the_cell(
    front: Front, worker: Worker, busy: str
) -> None:
    front.run("os.environ['HWPRUNE_FAULT'] = 'measure:hang'")
    open_panel(front, FAULTY)
    front.click("Run")
    worker.wait_for()
    cell = front.start(busy)
    time.sleep(0.5)
    front.manager.interrupt_kernel()
    worker.assert_ends_within(2)
    front.until(lambda: "Cancelled after" in front.pages(), 2)
    assert front.end(cell)["status"] == ("error" if busy else "ok")
    front.until(lambda: front.value(UNTOUCHED))
    front.until(lambda: front.value("get_ipython().kernel.saved_sigint_handler == signal.SIG_IGN"))


def test_a_run_and_the_cells_beside_it_know_nothing_of_each_other(front: Front) -> None:
    """Everything that draws random numbers draws them in both: the model, the score, the cells."""
    front.run(DRAWING)
    expected = front.value("play(10_000)")
    open_panel(front)
    front.fill("Model", "noisy")
    front.fill("Score", "score")
    front.fill("Importance", "taylor")
    front.run("seed()")
    front.click("Run")
    drawn: list[float] = []
    while front.value("'run' not in globals()") and 'role="alert"' not in front.pages():
        if len(drawn) + 50 <= len(expected):  # a run that takes long goes on alone
            drawn += front.value("play(50)")
    wait_for_report(front)
    assert len(drawn) > 1000
    assert drawn == expected[: len(drawn)]
    assert front.value("run.report.scores.dense == 1.0 and len(scored) == 2 and scored[0] != scored[1]")
    assert front.printed == []


def test_nothing_is_printed_by_a_run_in_the_background(front: Front) -> None:
    front.run(
        "def score(model):\n    print('said'); warnings.warn('warned'); os.write(2, b'')\n    return 1.0\n"
        "class Loud(nn.Module):\n"
        "    def __init__(self):\n        super().__init__(); self.inner = cnn()\n"
        "    def forward(self, x):\n        print('heard'); return self.inner(x)\n"
        "loud = Loud()"
    )
    open_panel(front)
    front.fill("Model", "loud")
    front.fill("Score", "score")
    front.click("Run")
    assert front.run("print('mine')")["status"] == "ok"
    wait_for_report(front)
    assert front.run("print('mine too')")["status"] == "ok"
    front.until(lambda: len(front.printed) == 2)
    assert front.printed == ["mine\n", "mine too\n"]


@pytest.mark.parametrize(
    ("label", "typed", "paragraph"),
    [
        ("Sparsity", "1.5", "InputError: --sparsity is 1.5"),
        ("Sparsity", "half", "argument --sparsity: invalid float value"),
        ("Example input", "nothing", "InputError: nothing, named as the example input, does not exist here."),
        ("Score", "1 / 0", "InputError: --eval 1 / 0 does not contain net"),
        ("Score", "1 / (net is None)", "InputError: The score could not be computed: ZeroDivisionError"),
        ("Importance", "taylor", "InputError: --importance taylor ranks channels"),
        ("Keep as", "2fast", "-o 2fast: this is not a valid variable name"),
    ],
)
def test_an_error_is_one_paragraph_in_the_panel(front: Front, label: str, typed: str, paragraph: str) -> None:
    open_panel(front)
    front.fill("Pattern", "2:4")
    front.fill(label, typed)
    front.click("Run")
    front.until(lambda: 'role="alert"' in front.pages())
    assert paragraph in front.pages()
    assert "Traceback" not in front.pages()
    assert front.value(UNTOUCHED)
    assert not front.field("Run")["disabled"]
    assert front.printed == []


def test_without_a_model_it_says_so_until_there_is_one(front: Front) -> None:
    front.run("kept = net; del net")
    front.run("kept_models = [kept]; del kept")
    front.run("%hwprune panel")
    assert "There is no model here yet" in front.pages()
    assert front.field("Run")["disabled"]
    front.run("late = kept_models[0]")
    front.click("Refresh")
    front.until(lambda: front.field("Model")["_options_labels"] == ["late: Sequential, 16,778 parameters"])
    assert not front.field("Run")["disabled"]
    assert "There is no model" not in front.pages()
    front.until(lambda: front.field("Same as")["value"].startswith("%hwprune late"))


def test_the_one_panel_moves_to_the_cell_that_asks_for_it_with_the_run_in_it(front: Front, worker: Worker) -> None:
    front.run("os.environ['HWPRUNE_FAULT'] = 'check:hang'")
    open_panel(front, FAULTY)
    front.click("Run")
    worker.wait_for()
    former = list(front.displays)
    front.run("%hwprune panel")
    assert "moved to another cell" in front.displays[former[0]]["text/html"]
    [form] = [data for data in front.displays.values() if WIDGET in data]
    assert form[WIDGET]["model_id"] in front.widgets
    front.click("Cancel")
    worker.assert_ends_within(2)


def test_options_that_the_form_has_itself_are_refused(front: Front) -> None:
    assert "panel takes no -o" in front.run("%hwprune panel -o run")["evalue"]
    assert "panel takes no option" in front.run("%hwprune panel --target hopper")["evalue"]
    assert "panel takes no word" in front.run("%hwprune panel net")["evalue"]


def test_in_a_terminal_one_sentence_gives_the_line_to_use(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("import torch; net, x = torch.nn.Linear(4, 4), torch.randn(2, 4)")
    result = shell.run_cell("%hwprune panel")
    assert isinstance(result.error_in_exec, InputError)
    assert str(result.error_in_exec).endswith("needs a notebook. Without one, call %hwprune net --input x -o run")
    capsys.readouterr()


def test_plain_python_is_told_of_the_function() -> None:
    script = "import jupyter_hwprune as h\ntry: h.panel()\nexcept h.InputError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "jupyter_hwprune.hwprune(model, x)" in done.stdout


def test_widgets_are_loaded_when_the_panel_is_asked_for_and_torch_not_even_then() -> None:
    script = (
        "import sys, jupyter_hwprune; print('ipywidgets' in sys.modules); jupyter_hwprune.panel\n"
        "print('ipywidgets' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "True", "False"]


def test_a_name_that_the_user_has_taken_is_not_where_the_result_would_go(front: Front) -> None:
    front.run("def run(): pass\n%hwprune panel")
    assert front.field("Keep as")["value"] == "hwprune_run"
