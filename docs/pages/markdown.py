"""The few forms of Markdown that the pages need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n"  # a page without the list of its headings


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a cell's own bars are escaped, and its line ends become spaces."""
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and texts, with the names as row headers."""
    lines = [f"* - {name}\n  - {' '.join(said.split())}" for name, said in rows]
    return "```{list-table}\n:stub-columns: 1\n\n" + "\n".join(lines) + "\n```\n"


def code(text: str, language: str = "text") -> str:
    """Return a block of code, in a fence longer than any within it."""
    fence = "`" * max(3, *(1 + len(run) for run in _backticks(text)))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def contents(names: Iterable[str]) -> str:
    """Return a hidden list of pages for the sidebar."""
    return "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n"


def bullets(items: Iterable[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


def _backticks(text: str) -> list[str]:
    runs, run = [""], ""
    for letter in text:
        run = run + letter if letter == "`" else ""
        runs.append(run)
    return runs
