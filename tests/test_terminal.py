"""IPython in a real terminal: the line that updates itself, the report as text, Ctrl-C."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).parents[1]
COMMAND = "-m IPython --simple-prompt --no-banner --no-confirm-exit --colors=NoColor --HistoryManager.enabled=False"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pexpect.spawn]:
    monkeypatch.setenv("HWPRUNE_PID_FILE", str(tmp_path / "pid"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    child = pexpect.spawn(
        sys.executable, COMMAND.split(), cwd=ROOT, timeout=90, encoding="utf-8", dimensions=(50, 130), echo=False
    )
    child.expect(r"In \[1\]:")
    child.sendline("import torch, os; from tests.networks import cnn; net, x = cnn(), torch.randn(2, 3, 16, 16)")
    child.expect(r"In \[2\]:")
    child.sendline("%load_ext jupyter_hwprune")
    child.expect(r"In \[3\]:")
    yield child
    child.close(force=True)


def test_the_progress_line_updates_itself_and_the_report_reads_as_text(terminal: pexpect.spawn) -> None:
    terminal.sendline("%hwprune net --input x --target cpu --toolchain onnxruntime")
    terminal.expect(r"In \[4\]:")
    shown = terminal.before
    steps = re.findall(r"\rhwprune: (\w+) \(", shown)
    phases = ["find", "prune", "export", "compile", "load", "check", "profile", "measure", "peak"]
    assert [step for step in dict.fromkeys(steps) if step != "confirm"] == phases
    assert re.search(
        r"\rhwprune: net for \S+, channel/8 at 50 % of channels, \w+: [A-Z ]+ [\d.]+x, score not given \(\d+ s\)",
        shown,
    )
    report = shown[shown.index("Out[3]:") :]
    assert re.search(r"process-CPU time of a batch of 2, 1 thread, \d+ interleaved rounds", report)
    assert max(len(line.rstrip()) for line in report.splitlines()) <= 120


def test_ctrl_c_ends_the_worker_and_gives_the_prompt_back(terminal: pexpect.spawn, tmp_path: Path) -> None:
    terminal.sendline("os.environ['HWPRUNE_FAULT'] = 'measure:hang'")
    terminal.expect(r"In \[4\]:")
    terminal.sendline("%hwprune net --input x --target cpu --toolchain tests.fakes.faulty")
    pid_file = tmp_path / "pid"
    while not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.05)
    worker = Path(f"/proc/{pid_file.read_text()}")
    assert worker.exists()
    start = time.monotonic()
    terminal.sendintr()
    while worker.exists():
        assert time.monotonic() - start < 10
        time.sleep(0.01)
    assert time.monotonic() - start < 1
    terminal.expect("hwprune: interrupted in phase")
    terminal.expect("KeyboardInterrupt: stopped")
    terminal.expect(r"In \[5\]:")
    terminal.sendline("print(sum(p.numel() for p in net.parameters()))")
    terminal.expect(r"16778")


def test_a_narrow_terminal_is_not_written_over(terminal: pexpect.spawn) -> None:
    terminal.setwinsize(50, 80)
    terminal.sendline("%hwprune doctor cpu")
    terminal.expect(r"In \[4\]:")
    shown = [line.rstrip() for line in terminal.before.splitlines()]
    assert any(line.startswith("onnxruntime") for line in shown)
    assert 70 < max(map(len, shown)) <= 80
