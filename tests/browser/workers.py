"""The worker process that a test's toolchain hangs in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 60


def wait_for_worker(pid_file: Path) -> Path:
    """Wait until the worker hangs, and return its entry in /proc, which is there as long as it lives."""
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", "no worker has started")
    return Path("/proc", pid_file.read_text())


def seconds_to_end(worker: Path, order: Callable[[], None]) -> float:
    """Give an order, and return the seconds from there to the worker's end."""
    assert worker.exists()
    start = time.monotonic()
    order()
    wait_until(lambda: not worker.exists(), "the worker has not ended")
    return time.monotonic() - start


def wait_until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} within {PATIENCE_S} s"
        time.sleep(0.01)
