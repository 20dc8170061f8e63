"""What can be done on this machine for each chip of the strategy matrix, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from .choice import Way, what_it_can
from .meters import Meter, meters
from .provision import EnvironmentHere, setup
from .render import survey as render
from .report import Evidence
from .smoke import Smoke, try_out
from .target import TARGETS, Target, find_target
from .toolchains import Status, manifest_of, planned, probe_all, shipped

Able = Literal["timed", "estimated", "compiled"]


@dataclass(frozen=True)
class TargetHere:
    """A target, what its toolchains can do for it on this machine, and what keeps them from timing it here.

    A toolchain that can neither time, estimate nor compile for it here is missing from `able`.
    """

    target: Target
    able: dict[str, Able]
    obstacles: dict[str, Evidence]

    @property
    def usable(self) -> tuple[str, ...]:
        """Return the toolchains that time it here."""
        return tuple(name for name, able in self.able.items() if able == "timed")


@dataclass(frozen=True)
class Targets:
    rows: tuple[TargetHere, ...]

    def __str__(self) -> str:
        return render.targets_text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": render.targets_html(self)}


@dataclass(frozen=True)
class Doctor:
    """Each toolchain's state and the targets it serves, the other environments, and the energy meters.

    `smoke` has, by toolchain, the result of compiling a small model; None if that was not asked for. `target` is the
    row that was asked about, None for all toolchains.
    """

    toolchains: tuple[Status, ...]
    serves: dict[str, tuple[str, ...]]
    environments: tuple[EnvironmentHere, ...]
    meters: tuple[Meter, ...]
    smoke: dict[str, Smoke] | None = None
    target: Target | None = None

    def state_of(self, status: Status) -> Literal["ready", "no device", "missing", "broken"]:
        tried = (self.smoke or {}).get(status.name)
        if tried is not None and not tried.worked:
            return "broken"
        return "missing" if not status.available else "ready" if status.devices else "no device"

    def to_json(self) -> str:
        data = asdict(replace(self, target=None)) | {"target": self.target and self.target.name}
        return json.dumps(data, indent=1)

    def __str__(self) -> str:
        return render.doctor_text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": render.doctor_html(self)}


def targets(rows: Sequence[Target] = TARGETS) -> Targets:
    """Probe each toolchain, and return the strategy matrix (or other rows) with what can be done here for each chip."""
    return held_against(probe_all(judge.toolchain for target in rows for judge in target.judges), rows)


def held_against(statuses: Mapping[str, Status], matrix: Sequence[Target] = TARGETS) -> Targets:
    """Return the strategy matrix with what can be done here, given each toolchain's state by its name."""
    rows = []
    for target in matrix:
        found = {each.toolchain: what_it_can(target, each, statuses[each.toolchain]) for each in target.judges}
        obstacles = {name: obstacle for name, (_, obstacle) in found.items() if obstacle is not None}
        able = {name: _able(name, way) for name, (way, _) in found.items() if way is not None}
        rows.append(TargetHere(target, able, obstacles))
    return Targets(tuple(rows))


def _able(toolchain: str, way: Way) -> Able:
    if way == "run":
        return "timed"
    return "estimated" if manifest_of(toolchain).estimates else "compiled"


def doctor(target: str | None = None, *, smoke: bool = False) -> Doctor:
    """Check the toolchains of one target, or all: what is installed, what is missing, and how to fix it.

    With `smoke`, each installed toolchain compiles and runs a small model. Raises InputError for an unknown target.
    """
    row = None
    if target is None:
        names = [*shipped(), *planned()]
    else:
        row, toolchain = find_target(target)
        names = [toolchain] if toolchain else [judge.toolchain for judge in row.judges]
    serves = {name: tuple(t.name for t in TARGETS if name in {judge.toolchain for judge in t.judges}) for name in names}
    statuses = tuple(probe_all(names).values())
    others = [row for row in setup().rows if row.name not in shipped()] if target is None else []
    tried = {each.toolchain: each for status in statuses if (each := try_out(status))} if smoke else None
    return Doctor(statuses, serves, tuple(others), meters(), tried, row)
