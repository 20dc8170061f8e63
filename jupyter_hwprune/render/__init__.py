"""Render a report as text, script-free HTML, a PNG, and our own MIME type for the lab extension."""

import base64
import json
from typing import Any

from ..report import MIME_TYPE, Report, words
from . import html, png
from .fit import fit
from .text import render as text

__all__ = ["mimebundle", "summary", "text"]

LIMIT_BYTES = 256 * 1024
PNG_BYTES = 34 * 1024  # stored twice, as image/png and in the HTML; base64 makes three bytes four
JSON_BYTES = tuple(kb * 1024 for kb in (144, 120, 96, 60, 20))  # the next one if escaping makes the page too large


def summary(report: Report) -> str:
    """Return the report in one line."""
    return f"{words.what(report)}: {words.headline(report)}"


def mimebundle(report: Report) -> dict[str, Any]:
    """Return every form of the report, at most 256 KB together."""
    for json_bytes in JSON_BYTES:
        bundle = _bundle(fit(report, json_bytes))
        if len(json.dumps(bundle)) <= LIMIT_BYTES:
            break
    return bundle


def _bundle(small: Report) -> dict[str, Any]:
    picture = png.render(small, PNG_BYTES)
    page, data = html.render(small, picture), json.loads(small.to_json())
    bundle = {"text/plain": text(small), "text/html": page, MIME_TYPE: data}
    if picture is not None:
        bundle["image/png"] = base64.b64encode(picture).decode("ascii")
    return bundle
