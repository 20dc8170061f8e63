"""Who waits for a worker may leave it: the worker ends then, and the process was others' all the while."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from jupyter_hwprune import hwprune
from jupyter_hwprune.toolchains import probe_all
from jupyter_hwprune.toolchains.process import waiting
from tests.networks import cnn


class UnwantedError(BaseException):
    """What ends a run from outside, like a cancel or an interrupt: never an Exception, which would be a failure."""


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a worker that hangs says which process it is."""
    monkeypatch.setenv("HWPRUNE_FAULT", "check:hang")
    monkeypatch.setenv("HWPRUNE_PID_FILE", str(tmp_path / "pid"))
    return tmp_path / "pid"


def left_when(unwanted: Callable[[], bool], work: Callable[[], object]) -> list[str]:
    """Do the work and leave its waits as soon as something holds; return how often it began and ceased to wait."""
    waits = []

    def still_wanted() -> None:
        if unwanted():
            raise UnwantedError

    @contextlib.contextmanager
    def beside() -> Iterator[Callable[[], None]]:
        waits.append("begun")
        try:
            yield still_wanted
        finally:
            waits.append("over")

    def run() -> None:
        waiting.set(beside)
        with pytest.raises(UnwantedError):
            work()

    contextvars.copy_context().run(run)
    return waits


def test_a_worker_that_is_wanted_no_more_has_ended_when_its_caller_is_told(hanging: Path, image: torch.Tensor) -> None:
    def there() -> bool:
        return hanging.exists() and hanging.read_text() != ""

    waits = left_when(there, lambda: hwprune(cnn(), image, target="cpu", toolchain="tests.fakes.faulty"))
    assert not Path(f"/proc/{hanging.read_text()}").exists()
    assert waits[:2] == ["begun", "over"]
    assert waits.count("begun") == waits.count("over")


def test_probes_that_are_wanted_no_more_end_together() -> None:
    others = set(threading.enumerate())
    assert left_when(lambda: True, lambda: probe_all(["onnxruntime", "openvino"])) == ["begun", "over"]
    left = set(threading.enumerate()) - others
    assert not [thread for thread in left if thread.name.startswith("ThreadPoolExecutor")]
