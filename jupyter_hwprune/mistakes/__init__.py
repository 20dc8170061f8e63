"""Named mistakes: a linter of a report, which a saved report can be given to again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.errors import InputError
from ..core.nearest import did_you_mean
from ..core.target import Target
from ..report import Mistake, Report
from .seen import Seen
from .table import KINDS

SEVERITIES = ("error", "warning", "note")  # the worst first


def lint(report: Report, row: Target | None = None, ignore: Sequence[str] = ()) -> tuple[Mistake, ...]:
    """Return the report's mistakes, the worst first, without those that it or `ignore` silences.

    `row` is the target's; None takes this package's of that name. For a target of the user's own that is not given, the
    mistakes that the report holds are returned.
    """
    silent = {*report.request.ignore, *ignore}
    seen = Seen.of(report, row)
    if seen.row is None:
        return tuple(each for each in report.mistakes if each.code not in silent)
    found = [
        Mistake(code, kind.title, kind.severity, each.what, each.why or kind.why, each.fix, each.layers, each.line)
        for code, kind in KINDS.items()
        if code not in silent
        for each in kind.rule(seen)
    ]
    return tuple(sorted(found, key=lambda each: SEVERITIES.index(each.severity)))  # stable


def with_mistakes(report: Report, row: Target | None = None) -> Report:
    return replace(report, mistakes=lint(report, row))


def silenced(report: Report, codes: tuple[str, ...]) -> Report:
    """Return the report without the mistakes of these codes, which it remembers."""
    left = tuple(each for each in report.mistakes if each.code not in codes)
    return replace(report, request=replace(report.request, ignore=codes), mistakes=left)


def check_codes(codes: Sequence[str]) -> tuple[str, ...]:
    """Return the codes; raises InputError for one that does not exist."""
    given = (codes,) if isinstance(codes, str) else tuple(codes)
    for code in given:
        if code not in KINDS:
            which = did_you_mean(code, KINDS) or f" There are {', '.join(KINDS)}."
            raise InputError(f"--ignore: there is no mistake {str(code)[:40]!r}.{which}")
    return given
