"""What a run has to reach: `speedup>=1.3, drop<=0.01`, read by a grammar of its own and checked against a report.

requirements = requirement { "," requirement }
requirement  = METRIC ( ">=" | "<=" | ">" | "<" ) NUMBER  |  "verdict" ( "==" | "!=" ) VERDICT
"""

import operator
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import get_args

from ..core.errors import InputError
from ..core.nearest import did_you_mean
from .measurement import Verdict
from .metrics import METRICS
from .report import Report
from .words.verdict import interval

SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
VERDICT, VERDICTS = "verdict", get_args(Verdict)
FORM = re.compile(r"([A-Za-z]\w*)\s*(>=|<=|==|!=|>|<)\s*(\S.*)", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
EXAMPLE = 'such as "speedup>=1.3, drop<=0.01" or "verdict==faster"'


@dataclass(frozen=True)
class Requirement:
    metric: str
    sign: str
    value: float | str

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.value if isinstance(self.value, str) else _number(self.value)}"


@dataclass(frozen=True)
class Checked:
    """A requirement, whether a report meets it, and the figures in words."""

    requirement: Requirement
    met: bool
    said: str


def read_requirements(text: str) -> tuple[Requirement, ...]:
    """Read requirements separated by commas; raises InputError for all else."""
    if not isinstance(text, str):
        raise InputError(f"--require is a {type(text).__name__}; give text {EXAMPLE}.")
    return tuple(_read(part.strip()) for part in text.split(","))


def _read(part: str) -> Requirement:
    found = FORM.fullmatch(part)
    if found is None:
        raise InputError(
            f"--require cannot read {part[:60]!r}. Give a metric, one of >=, <=, > and <, and a number, {EXAMPLE}."
        )
    metric, sign, value = found.groups()
    if metric == VERDICT:
        if sign not in ("==", "!="):
            raise InputError(f"--require {part[:60]}: a verdict is compared by == or !=, {EXAMPLE}.")
        if value not in VERDICTS:
            raise InputError(f"--require: there is no verdict {value[:40]!r}.{_nearest(value, VERDICTS)}")
        return Requirement(metric, sign, value)
    if metric not in METRICS:
        raise InputError(f"--require: there is no metric {metric[:40]!r}.{_nearest(metric, (VERDICT, *METRICS))}")
    if sign not in SIGNS:
        raise InputError(f"--require {part[:60]}: a measured number is never exactly {value[:40]}; use >= or <=.")
    if NUMBER.fullmatch(value) is None:
        raise InputError(f"--require: {metric} is compared with a number, and {value[:40]!r} is not one, {EXAMPLE}.")
    return Requirement(metric, sign, float(value))


def _nearest(name: str, names: Collection[str]) -> str:
    return did_you_mean(name, names) or f" There are: {', '.join(names)}."


def check(report: Report, requirements: Sequence[Requirement]) -> tuple[Checked, ...]:
    """Check each requirement; a metric that was not measured meets none."""
    return tuple(_check(report, each) for each in requirements)


def _check(report: Report, requirement: Requirement) -> Checked:
    metric, sign, bound = requirement.metric, requirement.sign, requirement.value
    if isinstance(bound, str):
        met = (report.verdict == bound) == (sign == "==")
        return Checked(requirement, met, f"the verdict is {report.verdict}")
    value = METRICS[metric].of(report)
    if value is None:
        return Checked(requirement, met=False, said=f"{metric} was not measured: {METRICS[metric].why_not(report)}")
    said = f"{metric} is {_number(value)}"
    if metric != "speedup":
        return Checked(requirement, SIGNS[sign](value, bound), said)
    spread = interval(report.deciding)
    said += f" ({spread})" if spread else ""
    claims_gain = bound > 1 if sign == ">=" else bound >= 1 and sign == ">"
    if claims_gain and report.verdict == "no measurable gain":
        return Checked(requirement, met=False, said=f"{said}, which is no measurable gain")
    return Checked(requirement, SIGNS[sign](value, bound), said)


def unmet(checked: Sequence[Checked]) -> str | None:
    """Return one paragraph on the requirements that are not met; None if all are."""
    failed = [each for each in checked if not each.met]
    if not failed:
        return None
    said = "; ".join(f"{each.requirement} is required, but {each.said}" for each in failed)
    return f"{len(failed)} of {len(checked)} requirements not met: {said.rstrip('.')}."


def _number(value: float) -> str:
    return f"{value:.6g}"
