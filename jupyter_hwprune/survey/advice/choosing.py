"""Which toolchains to ask for advice: of the targets that were named, those that can do something here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...choose.choice import Choice, choose
from ...core.errors import InputError
from ...core.target import ALIASES, find_target
from ..matrix import targets
from .rows import Absent

ALL = "all"


def choices_of(target: str | Sequence[str], toolchain: str | None, **options: Any) -> list[Choice]:
    """Return a choice for each toolchain of each target, the best of a target first; raises InputError."""
    names = target.split(",") if isinstance(target, str) else target
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"--target is {target!r}; it takes names of targets, such as cpu or cpu,hopper, or all.")
    asked = [each for name in names for each in (_here(toolchain) if name.strip() == ALL else [name.strip()])]
    found = [
        choice
        for name in dict.fromkeys(asked)
        for choice in choose(name, toolchain=toolchain, pattern="depth", **options).with_each_toolchain()
    ]
    if not found:
        with_it = f" with {toolchain}" if toolchain else ""
        raise InputError(
            f"No target can be timed, estimated or compiled for here{with_it}. `%hwprune doctor` says what is missing."
        )
    return list(_once(found))


def split(choices: Sequence[Choice]) -> tuple[list[Choice], tuple[Absent, ...]]:
    """Return the choices that can do something here, and the toolchains that cannot."""
    able = [each for each in choices if each.way is not None]
    absent = [(each, each.obstacle) for each in choices if each.way is None]
    return able, tuple(Absent(each.target.name, each.judge.toolchain, why) for each, why in absent if why is not None)


def _here(toolchain: str | None) -> Iterator[str]:
    """Yield the targets that can be timed, estimated or compiled for here, this computer's own first."""
    rows = [row for row in targets().rows if (toolchain or next(iter(row.able), None)) in row.able]
    own = find_target(ALIASES["cpu"])[0].name
    for row in sorted(rows, key=lambda row: row.target.name != own):
        yield row.target.name


def _once(choices: Sequence[Choice]) -> Iterator[Choice]:
    """Leave out a toolchain that times the same on the same device for an earlier target."""
    seen = set()
    for each in choices:
        judge = each.judge
        same = (judge.toolchain, judge.device, judge.offers, judge.dtypes, None if each.way == "run" else each.target)
        if each.way is None or same not in seen:
            yield each
        seen.add(same)
