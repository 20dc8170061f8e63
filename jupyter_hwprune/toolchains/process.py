"""Start a worker process, listen to its progress, and end it: with a result, a failure, or by force."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import platformdirs

from ..core.errors import InputError, ToolchainError, first_line
from ..core.interrupts import unbroken
from . import folders
from .folders import remove

Progress = Callable[[str, str], None]
"""Called with a phase and a detail, several times a second."""

waiting: ContextVar[Callable[[], AbstractContextManager[Callable[[], None]]]] = ContextVar(
    "waiting", default=lambda: nullcontext(lambda: None)
)
"""A context that is entered while the caller only waits for a worker. The function that it yields is called repeatedly;
if it raises, the worker is ended; what it raises should be no Exception, as a cancel is no failure. A run in a
background thread sets it, to let other work use the process meanwhile."""

WORKER = Path(__file__).with_name("_worker.py")
CACHE = Path(platformdirs.user_cache_dir("jupyter-hwprune"))  # a cache of our own, also for torch.compile
POLL_S = 0.02
LAST_WORDS = 600  # characters of the worker's output that a failure shows


@dataclass(frozen=True)
class Failure:
    """A worker call without a result: the phase it was in, and in one sentence what went wrong."""

    phase: str | None
    reason: str


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Make a temporary folder and remove it at the end; raises InputError if it cannot be made or is full."""
    folder = new_folder()
    try:
        yield folder
    finally:
        with unbroken():
            remove(folder)


def new_folder() -> Path:
    """Make a temporary folder that the caller removes; raises InputError if it cannot be made."""
    with guarded_folder():
        return folders.make()


@contextlib.contextmanager
def guarded_folder() -> Iterator[None]:
    """Raise InputError, with the cure, for a full or read-only temporary folder."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"The temporary folder {_temporary()} cannot be used ({first_line(error)}). Free some room there, or set "
            "the environment variable TMPDIR to a folder with room before the kernel starts."
        ) from error


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR", "")


def call(
    request: dict[str, Any],
    folder: Path,
    progress: Progress,
    *,
    threads: int,
    timeout_s: float,
    python: str | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any] | Failure:
    """Run one request in a worker process and return its result, or how it failed.

    `python` is the interpreter of the toolchain's own environment, None for the kernel's; no other interpreter sees the
    kernel's packages. The paths in the request are relative to `folder`, except the toolchain's.
    If this function is left early, as on an interrupt, the worker's whole process group is killed at once.
    """
    name = request["action"]
    ends = ("result.json", "progress.jsonl", "worker.log")
    result_path, progress_path, log_path = (folder / f"{name}.{end}" for end in ends)
    with guarded_folder():
        result_path.unlink(missing_ok=True)
        progress_path.write_text("")
        path = import_path() if python is None else []
        (folder / f"{name}.request.json").write_text(json.dumps(request | {"path": path}))
        log = log_path.open("wb")
    with log:
        process = start(python or sys.executable, folder, name, log, environment_of(threads))
    phase, ended = _wait(process, progress_path, progress, timeout_s, stop)
    if ended is not None:
        return Failure(phase, ended)
    if not result_path.exists():
        return Failure(phase, f"it {_ending(process.returncode)} {_while(phase)}{_last_words(log_path)}")
    result: dict[str, Any] = json.loads(result_path.read_text())
    if "error" in result:
        return Failure(phase, f"it failed {_while(phase)}: {result['error'][:LAST_WORDS]}")
    lacking = [key for key in request["answer"] if key not in result]
    if lacking:
        return Failure(phase, f"it breaks the contract of toolchains: its answer lacks {', '.join(lacking)}")
    return result


def start(python: str, folder: Path, name: str, log: BinaryIO, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker on the request `name` in the folder."""
    command = [python, "-I", str(WORKER), str(folder), name]
    try:
        return subprocess.Popen(  # noqa: S603 - our own worker on the kernel's interpreter, or the toolchain's
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    except OSError as error:
        raise ToolchainError(f"No worker process could be started with {command[0]}: {first_line(error)}.") from error


def _wait(
    process: subprocess.Popen[bytes],
    progress_path: Path,
    progress: Progress,
    timeout_s: float,
    stop: threading.Event | None,
) -> tuple[str | None, str | None]:
    """Pass on the worker's progress until it ends; return its last phase, and why it was stopped if it was."""
    phase = None
    with waiting.get()() as still_wanted, process, progress_path.open() as lines:
        try:
            deadline = time.monotonic() + timeout_s
            while process.poll() is None:
                still_wanted()
                phase = _pass_on(lines, progress, phase)
                if stop is not None and stop.is_set():
                    return phase, "it was interrupted"
                if time.monotonic() > deadline:
                    return phase, f"it was stopped after {timeout_s:g} s, {_while(phase)}"
                time.sleep(POLL_S)
            return _pass_on(lines, progress, phase), None
        finally:
            with unbroken():
                kill_group(process)


def _pass_on(lines: TextIO, progress: Progress, phase: str | None) -> str | None:
    while True:
        start = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):  # nothing new, or a line that is still being written
            lines.seek(start)
            return phase
        said = json.loads(line)
        phase = said["phase"]
        progress(phase, said["detail"])


def kill_group(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it started, unless it has ended: its id may belong to another process by now."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def environment_of(threads: int) -> dict[str, str]:
    """Return environment variables that give every vendor's thread pool the same size."""
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    caches = {name: str(CACHE / name.lower()) for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
    return caches | os.environ | dict.fromkeys(pools, str(threads))


def import_path() -> list[str]:
    """Return the kernel's import path for the worker, without the folder of the user's notebook."""
    return [str(entry) for entry in map(Path, filter(None, sys.path)) if entry.is_dir() and entry != Path.cwd()]


def _while(phase: str | None) -> str:
    return f"in phase {phase!r}" if phase else "while starting"


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    name = signal.Signals(-returncode).name
    return f"was killed by {name}" + (" (often because memory ran out)" if name == "SIGKILL" else "")


def _last_words(log: Path) -> str:
    words = " ".join(log.read_text(errors="replace").split())[-LAST_WORDS:]
    return f"; its last output: {words}" if words else ""
