"""Temporary folders: those of processes that were killed go at the next start, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from jupyter_hwprune import hwprune
from jupyter_hwprune.toolchains import folders
from jupyter_hwprune.toolchains.folders import LOCK
from tests.networks import cnn

HOLDS = "from jupyter_hwprune.toolchains.process import new_folder\nprint(new_folder(), flush=True)\ninput()"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, for this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders, "_swept", set())
    return tmp_path


@pytest.fixture
def other(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, and a folder with a file in it that it has made."""
    assert temporary.exists()
    command = [sys.executable, "-c", HOLDS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            folder = Path(process.stdout.readline().strip())
            (folder / "model.onnx").write_text("x")
            yield process, folder
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_killed_process_left_goes_at_the_next_start(
    number: signal.Signals, other: tuple[subprocess.Popen[str], Path]
) -> None:
    process, left = other
    process.send_signal(number)
    process.wait()
    assert (left / "model.onnx").exists()
    made = folders.make()
    assert not left.exists()
    assert made.exists()
    folders.remove(made)
    assert list(made.parent.iterdir()) == []


def test_the_folder_of_a_process_that_lives_stays(other: tuple[subprocess.Popen[str], Path]) -> None:
    _, kept = other
    own = folders.make()
    folders.sweep(kept.parent)
    assert (kept / "model.onnx").read_text() == "x"
    assert own.exists()
    folders.remove(own)


def test_what_is_not_ours_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = temporary / "hwprune-notes"
    mine.mkdir()
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / LOCK).touch()
    (temporary / "hwprune-link").symlink_to(elsewhere)
    (temporary / "hwprune-file").touch()
    linked = temporary / "hwprune-linked-lock"
    linked.mkdir()
    (linked / LOCK).symlink_to(elsewhere / LOCK)
    before = sorted(temporary.rglob("*"))
    folders.sweep(temporary)
    assert sorted(temporary.rglob("*")) == before
    (mine / LOCK).touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 4321)  # another user's
        folders.sweep(temporary)
    assert mine.exists()
    folders.sweep(temporary)
    assert not mine.exists()


def test_where_nothing_can_be_locked_a_folder_is_made_and_never_swept(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("no locks here")))
        made = folders.make()
    folders.sweep(temporary)
    assert made.exists()
    folders.remove(made)
    assert not made.exists()


def test_a_run_keeps_its_folder_and_its_lock_until_it_goes(temporary: Path) -> None:
    run = hwprune(cnn(), torch.randn(2, 3, 16, 16), target="tpu-v5e", pattern="unstructured", sparsity=0.5)
    (folder,) = temporary.glob("hwprune-*")
    assert [path.name for path in folder.iterdir()] == [LOCK]
    folders.sweep(temporary)
    assert folder.exists()
    thread = threading.Thread(target=folders.remove, args=(folder,))
    thread.start()
    thread.join()
    assert not folder.exists()
    del run
