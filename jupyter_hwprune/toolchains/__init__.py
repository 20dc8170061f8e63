"""List the toolchains, read what each can do, and probe which of them work here and for which devices."""

import contextlib
import importlib.util
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.nearest import did_you_mean
from . import environments
from .environments import Environment
from .manifest import Manifest, manifest_in
from .process import POLL_S, Failure, call, private_folder, waiting

HERE = Path(__file__).parent
NOT_TOOLCHAINS = {"contract", "environments", "folders", "making", "manifest", "process", "serving"}
PROBE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Remark:
    """A finding about a toolchain that the user may want to act on: its subject, what was found, and the cure."""

    about: str
    said: str
    cure: str | None = None

    def __str__(self) -> str:
        return f"{self.about}: {self.said}" + (f"; cure: {self.cure}" if self.cure else "")


@dataclass(frozen=True)
class Device:
    """A device that a toolchain found: its kind, its identities as target rows list them, and its common name."""

    kind: str
    identities: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Status:
    """Whether a toolchain can be used here: its versions and devices, or the reason why not and the cure.

    `absent` says why a device that it supports was not found. `environment` is its own environment, None if it runs in
    the kernel's. `cores` is the number of cores that it may use.
    """

    name: str
    available: bool
    versions: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    reason: str | None = None
    cure: str | None = None
    absent: dict[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    environment: Environment | None = None
    cores: int | None = None


def shipped() -> list[str]:
    """Return the toolchains that this package has a file for."""
    stems = {path.stem.replace("_", "-") for path in HERE.glob("*.py") if not path.stem.startswith("_")}
    return sorted(stems - NOT_TOOLCHAINS)


def file_called(name: str) -> Path:
    """Return where the file of a shipped name lies: a module has underscores where the name has dashes."""
    return HERE / f"{name.replace('-', '_')}.py"


def toolchain_file(name: str) -> Path:
    """Return the file of a toolchain; a dotted name is a module outside the package.

    Raises InputError for a name without one.
    """
    if name in shipped():
        return file_called(name)
    if "." in name:
        with contextlib.suppress(ImportError):
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
                return Path(spec.origin)
        raise InputError(f"There is no module {name}, so it cannot be the toolchain. Check its name and sys.path.")
    near = did_you_mean(name, shipped())
    raise InputError(f"There is no toolchain {name!r}.{near} The toolchains are: {', '.join(shipped())}.")


def probe(name: str, stop: threading.Event | None = None) -> Status:
    """Ask a toolchain for its versions and devices, in a process of its own; setting `stop` ends that early."""
    file = toolchain_file(name)
    apart = environment_of(name)
    environment = environments.find(apart) if apart else None
    if apart and (obstacle := environments.obstacle(apart, environment)):
        own = "an environment of its own" if apart == name else f"the environment of {apart}"
        reason = f"it needs {own}, and {obstacle}"
        return Status(name, available=False, reason=reason, cure=environments.setup_line(apart))
    result = ask(file, environment.interpreter if environment else None, stop)
    if isinstance(result, Failure):
        cure = environments.setup_line(apart) if apart else manifest_in(file).install
        return Status(name, available=False, reason=result.reason, cure=cure)
    return Status(
        name,
        available=True,
        versions=result["versions"],
        devices={
            device: Device(facts["kind"], tuple(facts["identities"]), facts["label"])
            for device, facts in result["devices"].items()
        },
        absent=result.get("absent", {}),
        remarks=tuple(Remark(**remark) for remark in result.get("remarks", [])),
        environment=environment,
        cores=result["machine"]["cores"],
    )


def ask(file: Path, python: str | None, stop: threading.Event | None = None) -> dict[str, Any] | Failure:
    """Run the `probe` of a toolchain's file in a worker; `python` is its interpreter, None for the kernel's."""
    with private_folder() as folder:
        request = {"action": "probe", "toolchain": str(file), "answer": ["versions", "devices"]}
        return call(request, folder, lambda *_: None, python=python, threads=1, timeout_s=PROBE_TIMEOUT_S, stop=stop)


def interpreter(name: str) -> str | None:
    """Return the interpreter of a toolchain's own environment; None for one that runs in the kernel's.

    Raises InputError, with the cure, for an environment that is missing or outdated.
    """
    apart = environment_of(name)
    return str(environments.interpreter_of(apart)) if apart else None


def environment_of(name: str) -> str | None:
    """Return the name of the environment that a toolchain runs in; None for the kernel's."""
    return name if name in environments.names() else manifest_of(name).environment


def probe_all(names: Iterable[str]) -> dict[str, Status]:
    """Probe several toolchains in parallel, each in its own process."""
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=4) as pool, waiting.get()() as still_wanted:
        try:
            asked = {name: pool.submit(probe, name, stop) for name in dict.fromkeys(names)}
            while wait(asked.values(), POLL_S).not_done:
                still_wanted()
            return {name: each.result() for name, each in asked.items()}
        finally:
            stop.set()  # an interrupt reaches this thread only; this stops the others


def version_of(name: str, versions: Mapping[str, str]) -> str | None:
    """Return a toolchain's own version, which its probe gives under its name; None where it has none of its own."""
    return versions.get(name.rpartition(".")[2])


def manifest_of(name: str) -> Manifest:
    """Return a toolchain's manifest; raises InputError if it has no file or its MANIFEST is wrong."""
    return manifest_in(toolchain_file(name))
