"""Toolchains: which there are, and whether each is there and for which devices."""

from __future__ import annotations

import ast
import importlib.util
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..target import TARGETS
from . import environments
from .environments import Environment
from .process import POLL_S, Failure, call, private_folder, waiting

HERE = Path(__file__).parent
NOT_TOOLCHAINS = {"contract", "environments", "making", "process"}
PROBE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Remark:
    """One thing about a toolchain here that the user may want to change: what it is, how it stands, what helps."""

    about: str
    said: str
    cure: str | None = None

    def __str__(self) -> str:
        return f"{self.about}: {self.said}" + (f"; cure: {self.cure}" if self.cure else "")


@dataclass(frozen=True)
class Status:
    """Whether a toolchain can be used here: its versions and devices, or the reason and the cure.

    `capabilities` are the devices' CUDA compute capabilities; `absent` says why a device that it serves is not there.
    `environment` is the one of its own that it runs in, None for the kernel's.
    """

    name: str
    available: bool
    versions: dict[str, str]
    devices: dict[str, str]
    reason: str | None = None
    cure: str | None = None
    capabilities: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    environment: Environment | None = None


def shipped() -> list[str]:
    """Return the toolchains this package has a file for."""
    stems = {path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_")}
    return sorted(stems - NOT_TOOLCHAINS)


def planned() -> list[str]:
    """Return the toolchains that the targets name and this version has no file for."""
    named = {stack.toolchain for target in TARGETS for stack in target.stacks}
    return sorted(named - set(shipped()))


def toolchain_file(name: str) -> Path | None:
    """Return the file of a toolchain, None for one that is only planned. A dotted name is somebody else's module.

    Raises InputError for a name that is neither.
    """
    if name in shipped():
        return HERE / f"{name}.py"
    if name in planned():
        return None
    if "." in name:
        try:
            spec = importlib.util.find_spec(name)
        except ImportError:
            spec = None
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            return Path(spec.origin)
        raise InputError(f"The toolchain {name!r} is a dotted name, so it should be a module, and none is found there.")
    raise InputError(f"There is no toolchain {name!r}. There are: {', '.join([*shipped(), *planned()])}.")


def probe(name: str, stop: threading.Event | None = None) -> Status:
    """Ask a toolchain, in a process of its own, for its versions and devices; `stop` ends that early."""
    file = toolchain_file(name)
    if file is None:
        return _missing(
            name,
            "this version of jupyter-hwprune has no adapter for it yet",
            "pip install -U jupyter-hwprune, once a version has one",
        )
    environment = None
    if name in environments.names():
        environment = environments.find(name)
        obstacle = environments.obstacle(name, environment)
        if obstacle is not None or environment is None:
            return _missing(name, f"it has an environment of its own, and {obstacle}", environments.setup_line(name))
    result = ask(file, environment.interpreter if environment else None, stop)
    if isinstance(result, Failure):
        cure = environments.setup_line(name) if environment else constant(file, "INSTALL")
        return _missing(name, result.reason, cure)
    return Status(
        name,
        available=True,
        versions=result["versions"],
        devices=result["devices"],
        capabilities=result.get("capabilities", {}),
        absent=result.get("absent", {}),
        remarks=tuple(Remark(**remark) for remark in result.get("remarks", [])),
        environment=environment,
    )


def ask(file: Path, python: str | None, stop: threading.Event | None = None) -> dict[str, Any] | Failure:
    """Run `probe` of a file beside the worker with an interpreter, None for the kernel's."""
    with private_folder() as folder:
        request = {"action": "probe", "toolchain": str(file), "python": python, "answer": ["versions", "devices"]}
        return call(request, folder, lambda *_: None, threads=1, timeout_s=PROBE_TIMEOUT_S, stop=stop)


def _missing(name: str, reason: str, cure: str | None) -> Status:
    return Status(name, available=False, versions={}, devices={}, reason=reason, cure=cure)


def interpreter(name: str) -> str | None:
    """Return the interpreter of a toolchain's own environment; None for one that runs in the kernel's.

    Raises InputError, with the cure, for an environment that is missing or outdated.
    """
    return str(environments.interpreter_of(name)) if name in environments.names() else None


def probe_all(names: Iterable[str]) -> dict[str, Status]:
    """Probe several toolchains at once; each spends its time in its own process."""
    unique = list(dict.fromkeys(names))
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=4) as pool, waiting.get()() as still_wanted:
        try:
            asked = [pool.submit(probe, name, stop) for name in unique]
            while wait(asked, POLL_S).not_done:
                still_wanted()
            return {name: each.result() for name, each in zip(unique, asked, strict=True)}
        finally:
            stop.set()  # an interrupt reaches this thread only; the others hear of it here


def defines(name: str, function: str) -> bool:
    """Say whether a toolchain's file has one of the contract's optional functions, without running it."""
    file = toolchain_file(name)
    tree = ast.parse(file.read_text(encoding="utf-8")) if file is not None else ast.Module([], [])
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body)


def takes_program(name: str) -> bool:
    """Say whether a toolchain compiles torch's ExportedProgram rather than ONNX."""
    file = toolchain_file(name)
    return file is not None and constant(file, "TAKES") == "program"


def opset_of(name: str) -> int | None:
    """Return the version of ONNX's operators that a toolchain wants, None where any will do."""
    file = toolchain_file(name)
    said = constant(file, "OPSET") if file is not None else None
    return None if said is None else int(said)


def constant(file: Path, name: str) -> str | None:
    """Read a constant, such as INSTALL, from a toolchain's file without running it; None where it has none."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return str(ast.literal_eval(node.value))
    return None
