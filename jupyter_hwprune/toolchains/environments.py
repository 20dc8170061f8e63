"""Environments of their own, for toolchains that cannot share the kernel's: which there are, and where they lie.

A toolchain has one when `requirements/NAME.txt` exists: every package pinned, and a header of `# key: value` lines with
the Pythons it takes and, where its licence restricts use, what that says. An environment is there when its entry in the
data folder says so; the entry is written last, in one move, so a half-made folder is never taken for a good one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from ..errors import InputError

REQUIREMENTS = Path(__file__).with_name("requirements")
FOLDER_VARIABLE = "HWPRUNE_ENVIRONMENTS"


@dataclass(frozen=True)
class Pins:
    """What an environment is made of: `text` is its requirements, `python` the versions of Python that it takes.

    `licence` is what a licence says that restricts use, None for one that does not.
    """

    name: str
    about: str
    python: str
    text: str
    licence: str | None
    licence_page: str | None

    @property
    def key(self) -> str:
        """Name these very pins: an environment made of others is outdated."""
        return hashlib.sha256(f"{self.python}\n{self.text}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Environment:
    """An environment that is there, whole: its interpreter, its packages, and its size on disk in bytes.

    `licence_accepted` is the day on which somebody accepted the licence, where there is one to accept.
    """

    name: str
    folder: str
    interpreter: str
    python: str
    key: str
    made: str
    size_bytes: int
    packages: dict[str, str]
    licence_accepted: str | None = None


def root() -> Path:
    """Return the folder of all environments: the user's data folder, or what HWPRUNE_ENVIRONMENTS says."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("jupyter-hwprune") / "environments"


def names() -> list[str]:
    """Return what has, or could have, an environment of its own."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def pins_of(name: str) -> Pins:
    """Read the pins of an environment; raises InputError for a name that has none."""
    if name not in names():
        raise InputError(
            f"{name!r} has no environment of its own to set up. These have one: {', '.join(names())}. All other "
            "toolchains are installed beside the kernel; `%hwprune doctor` gives the command for each."
        )
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    header = {match[1]: match[2] for line in lines if (match := re.match(r"# ([a-z-]+): (.+)", line))}
    requirements = [line for line in lines if not line.startswith("#")]
    # a program of torch's does not cross its versions, so what reads one has the kernel's own torch
    held = [f"{package}=={_version_here(package)}" for package in header.get("kernel", "").split()]
    return Pins(
        name,
        header["about"],
        header["python"],
        "\n".join([*requirements, *held]) + "\n",
        header.get("licence"),
        header.get("licence-page"),
    )


def _version_here(package: str) -> str:
    return importlib.metadata.version(package).partition("+")[0]


def find(name: str) -> Environment | None:
    """Return the environment of this name that is there and whole, of whatever pins; None where there is none."""
    try:
        environment = Environment(**json.loads(entry_of(name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return environment if Path(environment.interpreter).exists() else None


def entry_of(name: str) -> Path:
    return root() / f"{name}.json"


def enter(environment: Environment) -> None:
    """Make an environment the one that `find` returns, in one move."""
    entry = entry_of(environment.name)
    part = entry.with_suffix(".part")
    part.write_text(json.dumps(asdict(environment), indent=1), encoding="utf-8")
    part.replace(entry)


def interpreter_of(name: str) -> Path:
    """Return the interpreter of an environment; raises InputError with the cure where it is missing or outdated."""
    environment = find(name)
    missing = obstacle(name, environment)
    if missing is not None or environment is None:
        raise InputError(f"The environment of {name} cannot be used: {missing}. Cure: {setup_line(name)}")
    return Path(environment.interpreter)


def obstacle(name: str, environment: Environment | None) -> str | None:
    """Say why an environment cannot be used, None where it can."""
    if environment is None:
        return "it has not been set up here"
    if environment.key != pins_of(name).key:
        return "it was made of other versions than this package, with the torch of this kernel, asks for"
    return None


def setup_line(name: str) -> str:
    return f"%hwprune setup {name}" + (" --accept-licence" if pins_of(name).licence else "")


def sweep(name: str, *, keep: Path | None = None) -> None:
    """Remove all folders of this name but one: older environments, and what broken attempts left."""
    for folder in root().glob(f"{name}-*"):
        if folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
