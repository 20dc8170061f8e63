"""Make an environment: find a Python, create an empty environment, install the pins, check it, then register it.

uv finds a Python (or downloads one) and creates the environment. pip, inside it, installs the packages, since the
user's own indexes and wheel folders are configured for pip, and its cache keeps every finished download. Each attempt
gets a new folder, so a process that outlives a killed attempt cannot write into a later one.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from ..core.errors import InputError, ToolchainError, counted, first_line
from ..core.interrupts import unbroken
from .environments import Environment, Pins, enter, entry_of, find, obstacle, pins_of, root, sweep
from .process import Progress, kill_group

Check = Callable[[Path], str | None]
"""Checks an installation with its own interpreter: returns None if it works, or what is wrong."""

POLL_S = 0.25
WORDS = 400  # characters of an installer's last words that an error shows
# what would send the packages elsewhere than into the environment
MISLEADING = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV", "PYTHONHOME")
LIST_PACKAGES = (
    "import importlib.metadata as m, json; "
    "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)
VERSION = "import platform; print(platform.python_version())"


def make(
    name: str, check: Check, progress: Progress, *, accept_licence: bool = False, python: str | None = None
) -> Environment:
    """Return the environment of this name; make it if it is missing or outdated. A second caller waits for the first.

    Raises InputError for an unknown name, a licence that was not accepted, or an unsuitable Python, and ToolchainError
    when the installation fails; the incomplete environment is then removed, and finished downloads are kept.
    """
    pins = pins_of(name)
    with _folder_lock(name, progress):
        there = find(name)
        if there is not None and obstacle(name, there) is None and python is None:
            progress("setup", "checking the existing environment")
            if check(Path(there.interpreter)) is None:
                return there
        if pins.licence is not None and not accept_licence:
            raise InputError(
                f"{pins.licence} ({pins.licence_page}). If you accept that, run: %hwprune setup {name} --accept-licence"
            )
        old = Path(there.folder) if there is not None else None
        sweep(name, keep=old)
        base = _find_python(pins, python, progress)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root()))
        try:
            environment = _fill(folder, base, pins, check, progress)
        except BaseException:
            with unbroken():
                sweep(name, keep=old)
            raise
        enter(environment)
        sweep(name, keep=folder)
        return environment


def remove(name: str, progress: Progress) -> bool:
    """Remove an environment and all its folders; return whether there was one. Raises InputError."""
    pins_of(name)
    with _folder_lock(name, progress):
        there = find(name)
        entry_of(name).unlink(missing_ok=True)
        sweep(name)
        return there is not None


@contextlib.contextmanager
def _folder_lock(name: str, progress: Progress) -> Iterator[None]:
    """Lock the environments' folder for one name; the system releases the lock when the process dies."""
    from filelock import FileLock, Timeout

    try:
        root().mkdir(parents=True, exist_ok=True)
        lock = FileLock(root() / f".{name}.lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=POLL_S)
            except Timeout:
                progress("wait", f"another setup of {name} is running")
    except OSError as error:
        raise InputError(
            f"The folder of environments, {root()}, cannot be used ({first_line(error)}). Set HWPRUNE_ENVIRONMENTS to "
            "a writable folder before the kernel starts."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _find_python(pins: Pins, asked: str | None, progress: Progress) -> str:
    """Return an interpreter that fits the pins: the one asked for, one on this machine, or one that uv downloads."""
    from packaging.specifiers import SpecifierSet

    if asked is not None:
        version = _output([asked, "-I", "-c", VERSION]) or "no Python at all"
        if version[:1] != "3" or version not in SpecifierSet(pins.python):
            raise InputError(f"--python {asked} is {version}, but {pins.name} needs Python {pins.python}.")
        return asked
    progress("setup", f"looking for a Python {pins.python}")
    look = [_uv(), "python", "find", "--no-project", "--system", pins.python]
    found = _output(look)
    if found is None:
        newest = max((minor for minor in range(8, 30) if f"3.{minor}" in SpecifierSet(pins.python)), default=11)
        progress("setup", f"no Python {pins.python} here; asking uv for Python 3.{newest}")
        _, words = _run([_uv(), "python", "install", f"3.{newest}"], lambda _line: None)
        found = _output(look)
        if found is None:
            raise InputError(
                f"{pins.name} needs Python {pins.python}; none was found here, and none could be downloaded ({words}). "
                f"Install Python 3.{newest} with your system's package manager or conda, then repeat with its path: "
                f"%hwprune setup {pins.name} --python /path/to/python3.{newest}"
            )
    return found


def _fill(folder: Path, base: str, pins: Pins, check: Check, progress: Progress) -> Environment:
    """Make the environment in `folder`, install the pins, and check it."""
    progress("setup", f"creating an empty environment with {base}")
    _must([_uv(), "venv", "--clear", "--seed", "--no-project", "--python", base, str(folder)], pins)
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    requirements = folder / "requirements.txt"
    requirements.write_text(pins.text, encoding="utf-8")
    pip = [str(interpreter), "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    version = _output([str(interpreter), "-I", "-c", VERSION]) or ""
    listener = _installing(progress, _packages(pins, version))
    _must([*pip, "--progress-bar", "off", "--requirement", str(requirements)], pins, listener)
    if pins.alone:
        _must([*pip, "--progress-bar", "off", "--no-deps", *pins.alone], pins, listener)
    progress("setup", "checking the installation")
    wrong = check(interpreter)
    if wrong is not None:
        raise ToolchainError(f"{pins.name} was installed but does not work: {wrong}. The environment was removed.")
    packages = json.loads(_output([str(interpreter), "-I", "-c", LIST_PACKAGES]) or "{}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    accepted = now if pins.licence is not None else None
    size = sum(path.lstat().st_size for path in folder.rglob("*"))
    return Environment(pins.name, str(folder), str(interpreter), version, pins.key, now, size, packages, accepted)


def _packages(pins: Pins, version: str) -> int:
    """Count the pins that are for this system and this Python."""
    from packaging.requirements import Requirement

    here = {"python_full_version": version, "python_version": ".".join(version.split(".")[:2])}
    requirements = [Requirement(line) for line in (*pins.text.splitlines(), *pins.alone) if line.strip()]
    return sum(each.marker is None or each.marker.evaluate(here) for each in requirements)


def _installing(progress: Progress, total: int) -> Callable[[str], None]:
    """Return a listener that turns pip's output into progress: which package of how many."""
    numbers = count(1)

    def listener(line: str) -> None:
        if match := re.match(r"(?:Collecting|Processing) (?:.*/)?(\w[\w.]*(?:-[a-z]+)*)", line):
            progress("setup", f"package {next(numbers)} of {total} or more: {match[1]}")
        elif match := re.match(r"\s*Downloading .*?([^/\s]+) \((.+)\)", line):
            progress("setup", f"downloading {match[1].partition('-')[0]}, {match[2]}")
        elif line.startswith("Installing collected packages"):
            progress("setup", f"installing {counted(line.count(',') + 1, 'package')}")

    return listener


def _must(command: list[str], pins: Pins, listener: Callable[[str], None] = lambda _line: None) -> None:
    code, words = _run(command, listener)
    if code != 0:
        raise ToolchainError(
            f"The environment of {pins.name} could not be made; the installer's last output: {words}. The incomplete "
            f"environment was removed, finished downloads are kept. Fix the cause, then run %hwprune setup {pins.name}."
        )


def _run(command: list[str], listener: Callable[[str], None]) -> tuple[int, str]:
    """Run a command, pass on its lines, and return its exit code and last output; leaving early kills its group."""
    with subprocess.Popen(  # noqa: S603 - uv, or the environment's own pip
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=root(),
        env=_environment() | {"UV_NO_PROGRESS": "1", "NO_COLOR": "1"},
        start_new_session=True,
    ) as process:
        lines: deque[str] = deque(maxlen=21)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.strip())
                listener(line)
        finally:
            kill_group(process)
    told = [line for line in lines if line and not line.startswith("WARNING: Location")]
    return process.returncode, " ".join(told)[-WORDS:]


def _output(command: list[str]) -> str | None:
    """Return what a short command prints, None if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - uv, or an interpreter
            command, capture_output=True, text=True, check=False, timeout=60, env=_environment(), cwd=root()
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in MISLEADING}


def _uv() -> str:
    from uv import find_uv_bin

    return str(find_uv_bin())
