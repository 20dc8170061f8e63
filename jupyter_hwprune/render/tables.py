"""Wrap text for a terminal, and make rows an HTML table without scripts."""

import textwrap
from collections.abc import Sequence

from .text import terminal_width

INDENT = " " * 15
FIRST_ROWS = 12


def wrapped(said: str, first: str, rest: str) -> list[str]:
    """Wrap text to the width of the terminal; never break a line to type at its hyphens."""
    width = terminal_width() - 2
    return textwrap.wrap(said, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def folding_table(head: Sequence[str], rows: Sequence[str], rest: str) -> str:
    """Return a wide table of which only the first rows show at once; `head` and `rows` are HTML."""
    parts = [
        '<div style="overflow-x:auto"><table style="white-space:nowrap;font-size:12px">'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(some)}</tbody></table></div>"
        for some in (rows[:FIRST_ROWS], rows[FIRST_ROWS:])
    ]
    return parts[0] + (f"<details><summary>{rest}</summary>{parts[1]}</details>" if len(rows) > FIRST_ROWS else "")


def html_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cell = 'style="text-align:left;vertical-align:top"'
    header = "".join(f"<th {cell}>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td {cell}>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
