"""A report as people see it: text, script-free HTML, a PNG, and our own MIME type for the lab extension."""

from __future__ import annotations

from typing import Any

from ..report import Report
from . import words
from .text import render as text

__all__ = ["mimebundle", "summary", "text"]


def summary(report: Report) -> str:
    """Return the report in one line."""
    return f"{words.what(report)}: {words.headline(report)}"


def mimebundle(report: Report) -> dict[str, Any]:
    return {"text/plain": text(report)}
