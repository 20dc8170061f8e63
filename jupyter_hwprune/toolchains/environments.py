"""Separate environments for toolchains that cannot share the kernel's: which exist, and where they are.

A toolchain has one if `requirements/NAME.txt` exists: every package pinned, and a header of `# key: value` lines with
the Python versions it takes and, if its licence restricts use, what that says. An environment exists if it has an entry
in the data folder. The entry is written last, in one move, so an incomplete folder is never used.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from ..core.errors import InputError
from ..core.nearest import did_you_mean

REQUIREMENTS = Path(__file__).with_name("requirements")
FOLDER_VARIABLE = "HWPRUNE_ENVIRONMENTS"


@dataclass(frozen=True)
class Pins:
    """What an environment is made from: `text` is its requirements, `python` the Python versions that it takes.

    `licence` quotes how the licence restricts use, None if it does not. `alone` are installed after the others without
    looking at what they ask for: a maker may ask for older packages than it works with.
    """

    name: str
    about: str
    python: str
    text: str
    licence: str | None
    licence_page: str | None
    alone: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return a name for exactly these pins; an environment made from others is outdated."""
        return hashlib.sha256("\n".join([self.python, self.text, *self.alone]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Environment:
    """A complete environment: its interpreter, its packages, and its size on disk in bytes.

    `licence_accepted` is the day on which its licence was accepted, if it has one that must be.
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
    """Return the folder of all environments: HWPRUNE_ENVIRONMENTS if set, else one in the user's data folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("jupyter-hwprune") / "environments"


def names() -> list[str]:
    """Return the names that can have an environment of their own."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def pins_of(name: str) -> Pins:
    """Read the pins of an environment; raises InputError for a name without one."""
    if name not in names():
        raise InputError(
            f"{name!r} has no environment of its own to set up.{did_you_mean(name, names())} These have one: "
            f"{', '.join(names())}. All other toolchains are installed in the kernel's environment; `%hwprune doctor` "
            "gives the command for each."
        )
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    header = {match[1]: match[2] for line in lines if (match := re.match(r"# ([a-z-]+): (.+)", line))}
    requirements = [line for line in lines if not line.startswith("#")]
    # an ExportedProgram cannot be read by another version of torch, so its reader gets the kernel's
    kernels = {package: importlib.metadata.version(package) for package in header.get("kernel", "").split()}
    requirements += [f"{package}=={version.partition('+')[0]}" for package, version in kernels.items()]
    text = "\n".join(requirements) + "\n"
    alone = tuple(header.get("alone", "").split())
    return Pins(name, header["about"], header["python"], text, header.get("licence"), header.get("licence-page"), alone)


def find(name: str) -> Environment | None:
    """Return the complete environment of this name, also an outdated one; None if there is none."""
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
    """Return the interpreter of an environment; raises InputError, with the cure, if it is missing or outdated."""
    environment = find(name)
    missing = obstacle(name, environment)
    if missing is not None or environment is None:
        raise InputError(f"The environment of {name} cannot be used: {missing}. Cure: {setup_line(name)}")
    return Path(environment.interpreter)


def obstacle(name: str, environment: Environment | None) -> str | None:
    """Say why an environment cannot be used, None if it can."""
    if environment is None:
        return "it has not been set up here"
    if environment.key != pins_of(name).key:
        return "it has other versions than this package, with the torch of this kernel, needs"
    return None


def setup_line(name: str) -> str:
    return f"%hwprune setup {name}" + (" --accept-licence" if pins_of(name).licence else "")


def sweep(name: str, *, keep: Path | None = None) -> None:
    """Remove all folders of this name but one: older environments and the rest of failed attempts."""
    for folder in root().glob(f"{name}-*"):
        if folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
