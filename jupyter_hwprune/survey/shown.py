"""Show what a survey found: as text in a terminal, as HTML tables in a notebook, with the same words in both."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ..render.tables import INDENT, html_table, wrapped

Row = tuple[str, str, list[str]]
"""The name of a thing, its state, and what to say of it."""


class TextAndHtml(ABC):
    @abstractmethod
    def _html(self) -> str: ...

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._html()}


def listed(rows: Iterable[Row]) -> list[str]:
    lines = []
    for name, state, said in rows:
        lines.append(f"{name:<14} {state}")
        lines += [line for each in said for line in wrapped(each, INDENT, INDENT + "  ")]
    return lines


def listed_html(head: tuple[str, str, str], rows: Iterable[Row]) -> str:
    return html_table(head, [(bold(name), escape(state), "<br>".join(map(escape, said))) for name, state, said in rows])


def facts_html(heading: str, facts: Sequence[tuple[str, str]]) -> str:
    return html_table((heading, ""), [(bold(name), escape(said)) for name, said in facts])


def bold(name: str) -> str:
    return f"<b>{escape(name)}</b>"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return each row as a line, its cells in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
