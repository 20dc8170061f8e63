"""What could be done here: the strategy matrix held against this machine, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .choice import obstacle_for
from .meters import Meter, meters
from .provision import EnvironmentHere, setup
from .render import survey as render
from .report import Evidence
from .smoke import Smoke, try_out
from .target import TARGETS, Target, find_target
from .toolchains import Status, planned, probe_all, shipped


@dataclass(frozen=True)
class TargetHere:
    """A target, the toolchains that can compile for it and measure it on this machine, and what hinders the others."""

    target: Target
    usable: tuple[str, ...]
    obstacles: dict[str, Evidence]


@dataclass(frozen=True)
class Targets:
    rows: tuple[TargetHere, ...]

    def __str__(self) -> str:
        return render.targets_text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": render.targets_html(self)}


@dataclass(frozen=True)
class Doctor:
    """Each toolchain's state and the targets that it serves; the environments beside; the energy meters.

    `smoke` has what came of compiling a small model, by toolchain; None where that was not asked for.
    """

    toolchains: tuple[Status, ...]
    serves: dict[str, tuple[str, ...]]
    environments: tuple[EnvironmentHere, ...]
    meters: tuple[Meter, ...]
    smoke: dict[str, Smoke] | None = None

    def state_of(self, status: Status) -> Literal["ready", "no device", "missing", "broken"]:
        tried = (self.smoke or {}).get(status.name)
        if tried is not None and not tried.worked:
            return "broken"
        return "missing" if not status.available else "ready" if status.devices else "no device"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def __str__(self) -> str:
        return render.doctor_text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": render.doctor_html(self)}


def targets() -> Targets:
    """Return the strategy matrix with what can be compiled and measured on this machine, asked of each toolchain."""
    return held_against(probe_all(stack.toolchain for target in TARGETS for stack in target.stacks))


def held_against(statuses: Mapping[str, Status]) -> Targets:
    """Return the strategy matrix as the toolchains' states, by their names, allow it."""
    rows = []
    for target in TARGETS:
        found = {stack.toolchain: obstacle_for(target, stack, statuses[stack.toolchain]) for stack in target.stacks}
        usable = tuple(name for name, obstacle in found.items() if obstacle is None)
        obstacles = {name: obstacle for name, obstacle in found.items() if obstacle is not None}
        rows.append(TargetHere(target, usable, obstacles))
    return Targets(tuple(rows))


def doctor(target: str | None = None, *, smoke: bool = False) -> Doctor:
    """Return what is there and what is missing, with the cure; for one target's toolchains, or for all.

    With `smoke` each toolchain that is there compiles a small model and runs it. Raises InputError for a target that
    does not exist.
    """
    if target is None:
        names = [*shipped(), *planned()]
    else:
        row, toolchain = find_target(target)
        names = [toolchain] if toolchain else [stack.toolchain for stack in row.stacks]
    serves = {name: tuple(t.name for t in TARGETS if name in {s.toolchain for s in t.stacks}) for name in names}
    statuses = tuple(probe_all(names).values())
    others = [row for row in setup().rows if row.name not in shipped()] if target is None else []
    tried = {each.toolchain: each for status in statuses if (each := try_out(status))} if smoke else None
    return Doctor(statuses, serves, tuple(others), meters(), tried)
