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
    from ..target import Target
    from ..toolchains import Status

INDENT = " " * 15


def targets_text(survey: Targets) -> str:
    """Return a line a chip, grouped by maker: what to prune for it, and what can be done here."""
    rows = [(row.target.name, _offers(row), _here(row), row.target.chip) for row in survey.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["hwprune targets: what to prune for which chip, and what can be done for it on this machine"]
    of = dict(zip((row.target.name for row in survey.rows), rows, strict=True))
    for maker, group in _by_maker(survey.rows).items():
        lines += ["", maker]
        for cells in (of[row.target.name] for row in group):
            columns = [cell.ljust(width) for cell, width in zip(cells[:3], widths, strict=True)]
            lines.append(f"  {'  '.join(columns)}  {cells[3]}"[: terminal_width() - 1].rstrip())
    lines += ["", *(line for said in LEGEND for line in _wrapped(said, "", ""))]
    return "\n".join(lines)


LEGEND = (
    "Timed: compiled and timed here. Estimated: compiled here, with the compiler's own estimate.",
    "Compiled: compiled here, and no more. Pruned: pruned and checked here, and nothing compiled.",
    "`%hwprune doctor TARGET` says what is missing, and the command that mends it.",
)


def targets_html(survey: Targets) -> str:
    rows: list[tuple[str, ...]] = []
    for maker, group in _by_maker(survey.rows).items():
        rows.append((f"<i>{escape(maker)}</i>", "", "", ""))
        rows += [
            (
                f"<b>{escape(row.target.name)}</b>",
                escape(_offers(row)).replace(" ", "&nbsp;"),
                escape(_here(row)).replace(" ", "&nbsp;"),
                f"<details><summary>{escape(row.target.chip)}</summary>{_details(row)}</details>",
            )
            for row in group
        ]
    return _table(("target", "prune", "here", "chip"), rows) + f"<p>{escape(' '.join(LEGEND))}</p>"


def _by_maker(rows: Sequence[TargetHere]) -> dict[str, list[TargetHere]]:
    """Gather the rows of each maker, makers in the order of their first chip."""
    found: dict[str, list[TargetHere]] = {}
    for row in rows:
        found.setdefault(row.target.maker.capitalize() if " " in row.target.maker else row.target.maker, []).append(row)
    return found


def _offers(row: TargetHere) -> str:
    offered = dict.fromkeys(str(offer.pattern) for judge in row.target.judges for offer in judge.offers)
    return ", ".join(offered)


def _here(row: TargetHere) -> str:
    """Say the most that can be done for a target here, and by which toolchains."""
    for able in ("timed", "estimated", "compiled"):
        names = [name for name, own in row.able.items() if own == able]
        if names:
            return f"{able} ({', '.join(names)})"
    return "pruned"


def _details(row: TargetHere) -> str:
    cells = [(f"<b>{escape(name)}</b>", escape(said)) for name, said in _about(row.target)]
    if row.obstacles:
        cells.append(("<b>missing here</b>", escape(" ".join(_why(row)))))
    return _table(("", ""), cells)


def _about(target: Target) -> list[tuple[str, str]]:
    """Return what the matrix says of a chip beside its patterns."""
    offers = [
        f"{' or '.join(str(offer.pattern) for offer in judge.offers)} with {judge.toolchain}" for judge in target.judges
    ]
    typical = f"{target.typical_speedup} over dense is often said; that is not a measurement"
    about = [
        ("prune", "; ".join(offers)),
        ("limited by", target.primary_constraint),
        ("judged by", target.validation_metric),
        ("gain", typical if target.typical_speedup else "no figure is usual"),
        ("rules", "; ".join(rule.says for rule in target.rules)),
        ("mistake", target.common_mistake),
        ("its vendor", f"{target.vendor_says} {target.vendor_page}"),
    ]
    return [*about, ("found", target.finding)] if target.finding else about


def _why(row: TargetHere) -> list[str]:
    """Say what hinders the toolchains, those with the same reason together."""
    names: dict[Evidence, list[str]] = {}
    for name, obstacle in row.obstacles.items():
        names.setdefault(obstacle, []).append(name)
    return [f"{', '.join(those)}: {o.reason}; cure: {o.cure or 'none known'}." for o, those in names.items()]


def doctor_text(found: Doctor) -> str:
    lines = ["hwprune doctor: what each toolchain says of itself here", ""]
    for name, said in _about(found.target) if found.target else ():
        lines += _wrapped(said, f"{name:<14} ", INDENT)
    lines += [""] if found.target else []
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
    matrix = [(f"<b>{escape(name)}</b>", escape(said)) for name, said in (_about(found.target) if found.target else ())]
    about = _table(("of the chip", ""), matrix) if matrix else ""
    return about + _table(("toolchain", "state", "what it says"), rows)


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
        said.append(
            "devices: " + (", ".join(f"{name} ({device.label})" for name, device in status.devices.items()) or "none")
        )
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
