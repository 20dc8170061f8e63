"""A worker process that holds one compiled model, and runs it on inputs as they come until it is closed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ToolchainError
from ..core.interrupts import unbroken
from .process import environment_of, guarded_folder, import_path, kill_group, start

POLL_S = 0.001


@dataclass
class Server:
    """A compiled model in a worker; `run` takes the inputs of one batch in the model's order."""

    process: subprocess.Popen[bytes]
    folder: Path
    name: str
    deadline: float
    _number: int = 0

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs for one batch; raises ToolchainError if the worker fails or takes too long."""
        path = self.folder / f"{self.name}-{self._number}"
        self._number += 1
        part, outputs = path.with_suffix(".part.npz"), path.with_suffix(".outputs.npz")
        with guarded_folder():
            np.savez(part, *inputs)
            part.replace(path.with_suffix(".inputs.npz"))
        while not outputs.exists():
            if self.process.poll() is not None:
                raise ToolchainError(f"the compiled model stopped{self._last_words()}")
            if time.monotonic() > self.deadline:
                raise ToolchainError("the compiled model took longer than --timeout allows")
            time.sleep(POLL_S)
        with np.load(outputs) as file:
            found = [file[key] for key in file.files]
        outputs.unlink()
        return found

    def _last_words(self) -> str:
        """Return the error that the worker ended with."""
        path = self.folder / "serve.result.json"
        error = json.loads(path.read_text()).get("error") if path.exists() else None
        return "" if error is None else f": {error[:200]}"


@contextlib.contextmanager
def serving(
    request: dict[str, Any], folder: Path, *, threads: int, timeout_s: float, python: str | None = None
) -> Iterator[Server]:
    """Start a worker for the one case of a request; it ends with the context. `python` is as in `call`."""
    (case,) = request["cases"]
    with guarded_folder():
        (folder / "serve.result.json").unlink(missing_ok=True)
        own = request | {"path": import_path() if python is None else []}
        (folder / "serve.request.json").write_text(json.dumps(own))
        log = (folder / "serve.log").open("wb")
    with log:
        process = start(python or sys.executable, folder, "serve", log, environment_of(threads))
    with process:
        try:
            yield Server(process, folder, case["name"], time.monotonic() + timeout_s)
        finally:
            with unbroken():
                kill_group(process)
