"""The strategy matrix and the doctor's findings, as text and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .. import words
from ..errors import counted
from ..report import Evidence
from ..words.numbers import milliseconds, share
from .text import terminal_width

if TYPE_CHECKING:
    from ..provision import EnvironmentHere, Environments
    from ..simulation import Simulation
    from ..survey import Doctor, TargetHere, Targets
    from ..toolchains import Status

INDENT = " " * 15


def targets_text(survey: Targets) -> str:
    lines = ["hwprune targets: what to prune for which chip, and what can be measured on this machine", ""]
    for row in survey.rows:
        target = row.target
        lines.append(f"{target.name:<14} {target.chip}")
        for label, said in _about(row):
            lines += _wrapped(f"{label}: {said}", INDENT, INDENT + "  ")
    return "\n".join(lines)


def targets_html(survey: Targets) -> str:
    head = (
        "target",
        "pattern, toolchains",
        "typical gain",
        "limited by, judged by",
        "common mistake; rules",
        "here",
    )
    rows = []
    for row in survey.rows:
        about = dict(_about(row))
        target = row.target
        source = f'{escape(target.vendor_says)} (<a href="{escape(target.vendor_page)}">the vendor</a>)'
        notes = [*map(escape, target.shape_rules), source]
        if target.finding:
            notes.append(f"<b>found:</b> {escape(target.finding)}")
        details = f"<summary>{escape(target.common_mistake)}</summary>{'<br>'.join(notes)}"
        rows.append(
            (
                f"<b>{escape(target.name)}</b><br>{escape(target.chip)}",
                escape(about["prune"]),
                escape(target.typical_speedup or "none given"),
                f"{escape(target.primary_constraint)};<br>{escape(target.validation_metric)}",
                f"<details>{details}</details>",
                escape(about["here"]),
            )
        )
    return _table(head, rows)


def _about(row: TargetHere) -> list[tuple[str, str]]:
    target = row.target
    about = [
        ("prune", "; ".join(f"{stack.pattern} with {stack.toolchain}" for stack in target.stacks)),
        ("typical gain", f"{target.typical_speedup} over dense" if target.typical_speedup else "no figure is known"),
        ("limit", f"{target.primary_constraint}; judged by {target.validation_metric}"),
        ("rules", "; ".join(target.shape_rules)),
        ("mistake", target.common_mistake),
        ("vendor", f"{target.vendor_says} {target.vendor_page}"),
    ]
    if target.finding:
        about.append(("found", target.finding))
    if row.usable:
        about.append(("here", f"compiled and measured by {', '.join(row.usable)}"))
    else:
        about.append(("here", "not measured. " + " ".join(_why(row))))
    return about


def _why(row: TargetHere) -> list[str]:
    """Say what hinders the toolchains, those with the same reason together."""
    names: dict[Evidence, list[str]] = {}
    for name, obstacle in row.obstacles.items():
        names.setdefault(obstacle, []).append(name)
    return [f"{', '.join(those)}: {o.reason}; cure: {o.cure or 'none known'}." for o, those in names.items()]


def doctor_text(found: Doctor) -> str:
    lines = ["hwprune doctor: what each toolchain says of itself here", ""]
    for name, state, symptoms in _doctor_rows(found):
        lines.append(f"{name:<14} {state}")
        for said in symptoms:
            lines += _wrapped(said, INDENT, INDENT + "  ")
    return "\n".join(lines)


def doctor_html(found: Doctor) -> str:
    rows = [
        (f"<b>{escape(name)}</b>", escape(state), "<br>".join(map(escape, symptoms)))
        for name, state, symptoms in _doctor_rows(found)
    ]
    return _table(("toolchain", "state", "what it says"), rows)


def _doctor_rows(found: Doctor) -> list[tuple[str, str, list[str]]]:
    """Return (name, state, what to say of it) of the toolchains, of the other environments, and of the meters."""
    rows: list[tuple[str, str, list[str]]] = []
    rows += [(status.name, found.state_of(status), _symptoms(found, status)) for status in found.toolchains]
    rows += [(row.name, _ready(row), _about_environment(row)) for row in found.environments]
    for meter in found.meters:
        cure = [f"cure: {meter.cure}"] if meter.cure else []
        rows.append((meter.name, "meter" if meter.found else "no meter", [meter.said, *cure]))
    return rows


def _symptoms(found: Doctor, status: Status) -> list[str]:
    said = [f"serves {', '.join(found.serves[status.name]) or 'no target of this package'}"]
    if status.available:
        said.append("versions: " + ", ".join(f"{key} {value}" for key, value in status.versions.items()))
        if (own := status.environment) is not None:
            said.append(f"in an environment of its own: Python {own.python}, {own.folder}")
        said += [f"why: {reason}" for reason in status.absent.values()]
        said += map(str, status.remarks)
        said.append("devices: " + (", ".join(f"{key} ({value})" for key, value in status.devices.items()) or "none"))
    else:
        said += [f"why: {status.reason}", f"cure: {status.cure or 'none known'}"]
    tried = (found.smoke or {}).get(status.name)
    if tried is not None:
        said.append(f"tried on {tried.device} in {tried.seconds:.1f} s: {tried.said}")
    return said


def _ready(row: EnvironmentHere) -> str:
    return "ready" if row.obstacle is None else "missing"


def _wrapped(said: str, first: str, rest: str) -> list[str]:
    """Lay words out for the terminal that they are written to; a line to type stays whole at its hyphens."""
    width = terminal_width() - 2
    return textwrap.wrap(said, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cell = 'style="text-align:left;vertical-align:top"'
    header = "".join(f"<th {cell}>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {cell}>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def environments_text(found: Environments) -> str:
    lines = [f"hwprune setup: environments of their own, in {found.folder}", ""]
    for row in found.rows:
        lines.append(f"{row.name:<14} {_ready(row)}")
        for said in _about_environment(row):
            lines += _wrapped(said, INDENT, INDENT + "  ")
    return "\n".join(lines)


def environments_html(found: Environments) -> str:
    rows = [
        (
            f"<b>{escape(row.name)}</b>",
            _ready(row),
            "<br>".join(map(escape, _about_environment(row))),
        )
        for row in found.rows
    ]
    return _table(("environment", "state", f"in {escape(found.folder)}"), rows)


def _about_environment(row: EnvironmentHere) -> list[str]:
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
    return said


def simulation_text(found: Simulation) -> str:
    lines = [f"hwprune simulate: {found.model} for {found.target}, {found.toolchain}", ""]
    rows = _simulated(found)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for said in _about_simulation(found):
        lines += _wrapped(said, "  ", "  ")
    return "\n".join(lines)


def simulation_html(found: Simulation) -> str:
    head, *rows = _simulated(found) or [("zeros", "time")]
    notes = "".join(f"<p>{escape(said)}</p>" for said in _about_simulation(found))
    return f"<p><b>{escape(found.model)} for {escape(found.target)}</b></p>{_table(head, rows)}{notes}"


def _simulated(found: Simulation) -> list[tuple[str, ...]]:
    if found.dense_ms is None:
        return []
    rows = [(share(row.sparsity), milliseconds(row.ms), words.speed(row.speed)) for row in found.rows]
    return [("zeros", "time", "against dense"), ("none", milliseconds(found.dense_ms), ""), *rows]


def _about_simulation(found: Simulation) -> list[str]:
    if found.dense_ms is None:
        return [f"not measured: {found.evidence.reason}", f"cure: {found.evidence.cure or 'none known'}"]
    where = f"{found.evidence.kind} on {found.evidence.device}, {counted(found.threads, 'thread')}"
    return [f"{where}, wall time.", f"These are {found.caution}."]
