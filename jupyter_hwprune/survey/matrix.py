"""The strategy matrix with what can be done on this machine for each chip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, get_args

from ..choose.choice import Way, what_it_can
from ..core.door import one_door
from ..core.errors import ToolchainError
from ..core.target import TARGETS, Target
from ..render.tables import html_table, wrapped
from ..render.text import terminal_width
from ..report import Evidence
from ..toolchains import Status, manifest_of, probe_all
from .shown import TextAndHtml, aligned, bold, facts_html

Able = Literal["timed", "estimated", "compiled"]
HERE = "On this machine"
LINE = "`%hwprune doctor TARGET`"
LEGEND = (
    "Timed: compiled and timed here. Estimated: compiled here, with the compiler's own estimate.",
    "Compiled: compiled here, without times. Pruned: pruned and checked here, not compiled.",
    f"{LINE} says what is missing, and the command that fixes it.",
)


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
class Targets(TextAndHtml):
    rows: tuple[TargetHere, ...]

    def __str__(self) -> str:
        """Return a line a chip: first those that something can be done for here, then all others by their maker."""
        said = aligned([(row.target.name, _offers(row), _here(row), row.target.chip) for row in self.rows])
        of = {row.target.name: line for row, line in zip(self.rows, said, strict=True)}
        lines = ["hwprune targets: what to prune for which chip, and what can be done for it on this machine"]
        for maker, group in self._groups().items():
            own = (f"  {of[row.target.name]}"[: terminal_width() - 1].rstrip() for row in group)
            lines += ["", maker, *own]
        return "\n".join([*lines, "", *(line for said in LEGEND for line in wrapped(said, "", ""))])

    def _html(self) -> str:
        """Show a table of the chips that something can be done for here, and fold the others away."""
        groups = self._groups()
        here = groups.pop(HERE, [])
        others = sum(map(len, groups.values()))
        said = f"{others} more chips, pruned for and checked here: {', '.join(groups)}"
        rest = f"<details><summary>{escape(said)}</summary>{_table(groups)}</details>" if others else ""
        legend = escape(" ".join(LEGEND)).replace(LINE, f"<code>{LINE.strip('`')}</code>")
        return (_table({HERE: here}) if here else "") + rest + f"<p>{legend}</p>"

    def _groups(self) -> dict[str, list[TargetHere]]:
        """Gather first the rows that something can be done for here, timed before estimated; the others by maker."""
        here = [row for row in self.rows if row.able]
        here.sort(key=lambda row: min(map(get_args(Able).index, row.able.values())))
        return ({HERE: here} if here else {}) | _by_maker([row for row in self.rows if not row.able])


@one_door(ToolchainError)
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


def _table(groups: Mapping[str, Sequence[TargetHere]]) -> str:
    rows: list[tuple[str, ...]] = []
    for heading, group in groups.items():
        rows.append((f"<i>{escape(heading)}</i>", "", "", ""))
        for row in group:
            chip = f"<details><summary>{escape(row.target.chip)}</summary>{_details(row)}</details>"
            rows.append((bold(row.target.name), escape(_offers(row)), escape(_here(row)), chip))
    return html_table(("target", "prune", "here", "chip"), rows)


def _by_maker(rows: Sequence[TargetHere]) -> dict[str, list[TargetHere]]:
    """Gather the rows of each maker, makers in the order of their first chip."""
    found: dict[str, list[TargetHere]] = {}
    for row in rows:
        maker = row.target.maker
        found.setdefault(maker.capitalize() if " " in maker else maker, []).append(row)
    return found


def _offers(row: TargetHere) -> str:
    return ", ".join(dict.fromkeys(str(offer.pattern) for judge in row.target.judges for offer in judge.offers))


def _here(row: TargetHere) -> str:
    """Say the most that can be done for a target here, and by which toolchains."""
    for able in get_args(Able):
        names = [name for name, own in row.able.items() if own == able]
        if names:
            return f"{able} ({', '.join(names)})"
    return "pruned"


def _details(row: TargetHere) -> str:
    """Show all facts of a chip, and what hinders the toolchains here, those with the same reason together."""
    names: dict[Evidence, list[str]] = {}
    for name, obstacle in row.obstacles.items():
        names.setdefault(obstacle, []).append(name)
    why = [f"{', '.join(those)}: {o.reason}; cure: {o.cure or 'none known'}." for o, those in names.items()]
    return facts_html("", [*about(row.target), *([("missing here", " ".join(why))] if why else [])])


def about(target: Target) -> list[tuple[str, str]]:
    """Return what the matrix says of a chip beside its patterns."""
    offers = [
        f"{' or '.join(str(offer.pattern) for offer in judge.offers)} with {judge.toolchain}" for judge in target.judges
    ]
    configs = [
        f"one of each with {judge.toolchain}: {'; '.join(map(', '.join, judge.configs))}"
        for judge in target.judges
        if judge.configs
    ]
    typical = f"{target.typical_speedup} over dense is often claimed; that is not a measurement"
    about = [
        ("prune", "; ".join(offers)),
        *([("--config", ". ".join(configs))] if configs else []),
        ("limited by", target.primary_constraint),
        ("judged by", target.validation_metric),
        ("gain", typical if target.typical_speedup else "no figure is usual"),
        ("rules", "; ".join(rule.says for rule in target.rules)),
        ("mistake", target.common_mistake),
        ("its vendor", f"{target.vendor_says} {target.vendor_page}"),
    ]
    return [*about, ("found", target.finding)] if target.finding else about
