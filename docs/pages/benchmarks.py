"""A page for each committed table in benchmarks/results, with the description from its module's docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .markdown import WIDE, code, contents, table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
INTRODUCTION = """# Benchmarks and peers

Every table is committed as its command printed it, with the machine, the date and the versions; the raw samples are
beside it as JSON. The tables show losses as well as wins.
"""


def pages() -> dict[str, str]:
    return {f"benchmarks/{stem}.md": _page(stem) for stem in _stems()} | {"benchmarks/index.md": _index()}


def results_of(toolchain: str) -> dict[str, str]:
    """Return the titles of the tables with measurements of a toolchain, by the names of their pages."""
    said = {stem: _table(stem) for stem in _stems()}
    return {stem: _about(stem)[0] for stem, text in said.items() if re.search(rf"\b{toolchain}\b", text, re.IGNORECASE)}


def _index() -> str:
    rows = []
    for stem in _stems():
        title, command, _ = _about(stem)
        rows.append((f"[{title}]({stem}.md)", f"`{command}`"))
    peers = [line for line in (BENCHMARKS / "peers.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    about = "## Peers\n\nSparseGPT, Wanda and apex are run from checkouts of their repositories; the others from an "
    about += "environment of their own, with these versions:\n\n" + code("\n".join(peers))
    return "\n".join([INTRODUCTION, table(("table", "measured by"), rows), about, contents(_stems())])


def _page(stem: str) -> str:
    title, command, text = _about(stem)
    return f"{WIDE}# {title}\n\n{text}\n\n{code(command, 'shell')}\n{_table(stem)}"


def _stems() -> list[str]:
    return sorted(path.stem for path in (BENCHMARKS / "results").glob("*.md"))


def _table(stem: str) -> str:
    return (BENCHMARKS / "results" / f"{stem}.md").read_text(encoding="utf-8")


def _about(stem: str) -> tuple[str, str, str]:
    """Return the title, the command and the text of a benchmark's docstring: `Title: COMMAND.`, then the text.

    One command may write several tables, MODULE_PART each.
    """
    module, part = stem, ""
    if not (BENCHMARKS / f"{module}.py").exists():
        module, _, part = stem.rpartition("_")
    docstring = ast.get_docstring(ast.parse((BENCHMARKS / f"{module}.py").read_text(encoding="utf-8"))) or ""
    first, _, rest = docstring.partition("\n")
    title, _, command = first.partition(": `")
    return f"{title}: {part}" if part else title, command.rstrip("`."), rest.strip()
