"""The strategy matrix and the doctor's findings, as text and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ..report import Evidence

if TYPE_CHECKING:
    from ..provision import EnvironmentHere, Environments
    from ..survey import Doctor, TargetHere, Targets
    from ..toolchains import Remark, Status

WIDTH = 118
INDENT = " " * 15


def targets_text(survey: Targets) -> str:
    lines = ["hwprune targets: what to prune for which chip, and what can be measured on this machine", ""]
    for row in survey.rows:
        target = row.target
        lines.append(f"{target.name:<14} {target.chip}")
        for label, said in _about(row):
            lines += textwrap.wrap(f"{label}: {said}", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT + "  ")
    return "\n".join(lines)


def targets_html(survey: Targets) -> str:
    head = (
        "target",
        "pattern, toolchains",
        "guide's gain",
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
        ("guide", f"{target.typical_speedup} over dense" if target.typical_speedup else "gives no figure for it"),
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
    for status in found.toolchains:
        lines.append(f"{status.name:<14} {_state(status)}")
        for said in _symptoms(found, status.name):
            lines += textwrap.wrap(said, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT + "  ")
    return "\n".join(lines)


def doctor_html(found: Doctor) -> str:
    rows = [
        (
            f"<b>{escape(status.name)}</b>",
            _state(status),
            "<br>".join(map(escape, _symptoms(found, status.name))),
        )
        for status in found.toolchains
    ]
    return _table(("toolchain", "state", "what it says"), rows)


def _symptoms(found: Doctor, name: str) -> list[str]:
    status = next(each for each in found.toolchains if each.name == name)
    said = [f"serves {', '.join(found.serves[name]) or 'no target of this package'}"]
    if status.available:
        said.append("versions: " + ", ".join(f"{key} {value}" for key, value in status.versions.items()))
        said += [f"why: {reason}" for reason in status.absent.values()]
        said += [_remark(remark) for remark in status.remarks]
        said.append("devices: " + (", ".join(f"{key} ({value})" for key, value in status.devices.items()) or "none"))
    else:
        said += [f"why: {status.reason}", f"cure: {status.cure or 'none known'}"]
    return said


def _state(status: Status) -> str:
    return "missing" if not status.available else "ready" if status.devices else "no device"


def _remark(remark: Remark) -> str:
    return f"{remark.about}: {remark.said}" + (f"; cure: {remark.cure}" if remark.cure else "")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cell = 'style="text-align:left;vertical-align:top"'
    header = "".join(f"<th {cell}>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {cell}>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def environments_text(found: Environments) -> str:
    lines = [f"hwprune setup: environments of their own, in {found.folder}", ""]
    for row in found.rows:
        lines.append(f"{row.name:<14} {'ready' if row.obstacle is None else 'missing'}")
        for said in _about_environment(row):
            lines += textwrap.wrap(said, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT + "  ")
    return "\n".join(lines)


def environments_html(found: Environments) -> str:
    rows = [
        (
            f"<b>{escape(row.name)}</b>",
            "ready" if row.obstacle is None else "missing",
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
