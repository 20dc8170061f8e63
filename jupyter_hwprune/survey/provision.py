"""Make, list and remove the environments of toolchains that cannot share the kernel's."""

from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

from ..core.door import one_door
from ..core.errors import InputError, ToolchainError
from ..toolchains import ask, environments, file_called
from ..toolchains.environments import Environment
from ..toolchains.making import make, remove
from ..toolchains.process import Failure, Progress
from .shown import Row, TextAndHtml, listed, listed_html


@dataclass(frozen=True)
class EnvironmentHere:
    """An environment that can be made here: what it is for, whether it was made, and why it cannot be used."""

    name: str
    about: str
    environment: Environment | None
    obstacle: str | None
    cure: str


@dataclass(frozen=True)
class Environments(TextAndHtml):
    folder: str
    rows: tuple[EnvironmentHere, ...]

    def __str__(self) -> str:
        lines = listed(map(about_environment, self.rows))
        return "\n".join([f"hwprune setup: environments of their own, in {self.folder}", "", *lines])

    def _html(self) -> str:
        head = ("environment", "state", f"in {escape(self.folder)}")
        return listed_html(head, map(about_environment, self.rows))


@one_door(ToolchainError)
def setup(
    name: str | None = None,
    *,
    accept_licence: bool = False,
    remove_it: bool = False,
    python: str | None = None,
    progress: Progress = lambda _phase, _detail: None,
) -> Environments:
    """Make the environment of a toolchain, or remove it with `remove_it`; without a name, list them all.

    An environment that works and has the versions of this package stays as it is. `python` is the interpreter to make
    it with; by default one is looked for. Raises InputError for an unknown name, a licence that was not accepted, or an
    unsuitable Python, and ToolchainError when the installation fails; an incomplete environment is removed.
    """
    if name is None:
        return _listing(environments.names())
    if remove_it:
        if not remove(name, progress):
            raise InputError(f"There is no environment of {name} to remove in {environments.root()}.")
    else:
        make(name, partial(_fault_of, name), progress, accept_licence=accept_licence, python=python)
    return _listing([name])


def _fault_of(name: str, interpreter: Path) -> str | None:
    """Check an environment: the toolchain's file must be able to report its versions in it."""
    file = next(path for path in (file_called(name), file_called(f"_{name}")) if path.exists())
    result = ask(file, str(interpreter))
    return result.reason if isinstance(result, Failure) else None


def _listing(names: list[str]) -> Environments:
    rows = []
    for name in names:
        environment = environments.find(name)
        obstacle = environments.obstacle(name, environment)
        about = environments.pins_of(name).about
        rows.append(EnvironmentHere(name, about, environment, obstacle, environments.setup_line(name)))
    return Environments(str(environments.root()), tuple(rows))


def about_environment(row: EnvironmentHere) -> Row:
    said = [row.about]
    there = row.environment
    if there is not None:
        said.append(
            f"Python {there.python}, {len(there.packages)} packages, {there.size_bytes / 1e6:.0f} MB, made {there.made}"
        )
        if there.licence_accepted:
            said.append(f"its licence was accepted {there.licence_accepted}")
        said.append(f"remove it with: %hwprune setup {row.name} --remove")
    if row.obstacle is not None:
        said += [f"why: {row.obstacle}", f"cure: {row.cure}"]
    return row.name, "ready" if row.obstacle is None else "missing", said
