"""The page of named mistakes, made from the table that the rules are in."""

from __future__ import annotations

from jupyter_hwprune.mistakes.table import KINDS, Kind

from .markdown import bullets, table

INTRODUCTION = """# Mistakes

A report names the mistakes of a plan and of its result, in every view and as data (`report.mistakes`), each with the
layers, the reason, the fix, and a line to copy where there is one. A rule whose facts are not known says nothing.

- An **error** makes the pruning useless on this chip; a **warning** takes part of the gain; a **note** limits what the
  report shows.
- `--ignore HWP113` (repeatable), or `hwprune(..., ignore=["HWP113"])`, silences one.
- `python -m jupyter_hwprune check report.json` checks a saved report again, with the rules of the installed version.
- The tutorial [Common mistakes](tutorials/06_common_mistakes.md) makes four of them, and fixes each.
"""


def pages() -> dict[str, str]:
    rows = [(f"[{code}](#{code.lower()})", kind.title, kind.severity) for code, kind in KINDS.items()]
    parts = [INTRODUCTION, table(("code", "mistake", "severity"), rows)]
    return {"mistakes.md": "\n".join([*parts, *(_section(code, kind) for code, kind in KINDS.items())])}


def _section(code: str, kind: Kind) -> str:
    said = (f"**Why** {kind.why}", f"**Found when** {kind.when}", f"**Fix** {kind.fix}")
    return f"({code.lower()})=\n## {code} {kind.title}\n\n*{kind.severity}*\n\n{bullets(said)}"
