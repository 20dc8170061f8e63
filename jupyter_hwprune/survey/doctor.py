"""The state of each toolchain, environment and meter on this machine, and how to fix what is missing."""

import json
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Literal

from ..core.door import one_door
from ..core.errors import ToolchainError
from ..core.target import TARGETS, Target, find_target
from ..render.tables import INDENT, wrapped
from ..toolchains import Status, probe_all, shipped
from .matrix import about
from .meters import MeterHere, meters
from .profilers import ProfilerHere, profilers
from .provision import EnvironmentHere, about_environment, setup
from .shown import Row, TextAndHtml, facts_html, listed, listed_html
from .smoke import Smoke, try_out

HERE = ("ready", "meter", "profiler")  # the states of what works on this machine


@dataclass(frozen=True)
class Doctor(TextAndHtml):
    """Each toolchain's state and the targets it serves, the other environments, the energy meters and the profilers.

    `smoke` has, by toolchain, the result of compiling a small model; None if that was not asked for. `target` is the
    row that was asked about, None for all toolchains.
    """

    toolchains: tuple[Status, ...]
    serves: dict[str, tuple[str, ...]]
    environments: tuple[EnvironmentHere, ...]
    meters: tuple[MeterHere, ...]
    profilers: tuple[ProfilerHere, ...]
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
        lines = ["hwprune doctor: which toolchains work on this machine", ""]
        if self.target is not None:
            lines += [line for name, said in about(self.target) for line in wrapped(said, f"{name:<14} ", INDENT)]
            lines.append("")
        return "\n".join([*lines, *listed(self._rows())])

    def _html(self) -> str:
        """Show a table of what works here, and fold away what does not; of one chip, show all of it."""
        head, rows = ("toolchain", "state", "what it says"), self._rows()
        if self.target is not None:
            return facts_html("of the chip", about(self.target)) + listed_html(head, rows)
        here = [row for row in rows if row[1] in HERE]
        others = [row for row in rows if row[1] not in HERE]
        said = f"{len(others)} more, each with what is missing: {', '.join(name for name, *_ in others)}"
        return (
            listed_html(head, here) + f"<details><summary>{escape(said)}</summary>{listed_html(head, others)}</details>"
        )

    def _rows(self) -> list[Row]:
        """Describe the toolchains, the other environments, the meters and the profilers: what works here first."""
        rows: list[Row] = [(each.name, self.state_of(each), _symptoms(self, each)) for each in self.toolchains]
        rows.sort(key=lambda row: row[1] not in HERE)
        rows += map(about_environment, self.environments)
        parts = [(each, "meter") for each in self.meters] + [(each, "profiler") for each in self.profilers]
        for part, kind in parts:
            cure = [f"cure: {part.cure}"] if part.cure else []
            rows.append((part.name, kind if part.found else f"no {kind}", [part.said, *cure]))
        return rows


@one_door(ToolchainError)
def doctor(target: str | None = None, *, smoke: bool = False) -> Doctor:
    """Check the toolchains of one target, or all: what is installed, what is missing, and how to fix it.

    With `smoke`, each installed toolchain compiles and runs a small model. Raises InputError for an unknown target.
    """
    row = None
    if target is None:
        names = shipped()
    else:
        row, toolchain = find_target(target)
        names = [toolchain] if toolchain else [judge.toolchain for judge in row.judges]
    serves = {name: tuple(t.name for t in TARGETS if name in {judge.toolchain for judge in t.judges}) for name in names}
    statuses = tuple(probe_all(names).values())
    others = [row for row in setup().rows if row.name not in shipped()] if target is None else []
    tried = {each.toolchain: each for status in statuses if (each := try_out(status))} if smoke else None
    return Doctor(statuses, serves, tuple(others), meters(), profilers(), tried, row)


def _symptoms(found: Doctor, status: Status) -> list[str]:
    said = [f"serves {', '.join(found.serves[status.name]) or 'no target of this package'}"]
    if status.available:
        said.append("versions: " + ", ".join(f"{key} {value}" for key, value in status.versions.items()))
        if (own := status.environment) is not None:
            said.append(f"in an environment of its own: Python {own.python}, {own.folder}")
        said += [f"why: {reason}" for reason in dict.fromkeys(status.absent.values())]
        said += map(str, status.remarks)
        devices = ", ".join(f"{name} ({device.label})" for name, device in status.devices.items())
        said.append(f"devices: {devices or 'none'}")
    else:
        said += [f"why: {status.reason}", f"cure: {status.cure or 'none known'}"]
    tried = (found.smoke or {}).get(status.name)
    if tried is not None:
        said.append(f"tried on {tried.device} in {tried.seconds:.1f} s: {tried.said}")
    return said
