"""Reports that somebody made to do harm, or that were damaged on their way."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

# each of these sets `window.harmed` where it is run, or leads to a page of its own
SCRIPTS = (
    "<img src=x onerror=\"window.harmed='image'\">",
    "<script>window.harmed='script'</script>",
    '"><svg onload="window.harmed=\'svg\'">',
    "' onmouseover='window.harmed=1' onfocus='window.harmed=1' autofocus='",
    "<iframe srcdoc=\"<script>parent.harmed='frame'</script>\"></iframe>",
    "<a href=\"javascript:window.harmed='link'\">here</a>",
    "[here](javascript:window.harmed='markdown')",
    "javascript:window.harmed='address'",
    "<style>body{display:none}</style>",
)
# what the schema takes as one of a few words, or as numbers in base64
WORDS_OF_THE_SCHEMA = {"kind", "clock", "unit", "verdict", "measure", "tiles", "corner", "badge", "key"}
WRONG: tuple[Any, ...] = (None, True, -1, 1e308, "a text", [], {}, [[]], {"a": {}})


def scripted(report: dict[str, Any]) -> dict[str, Any]:
    """Return the report with a script in every text that it holds."""
    scripts = itertools.cycle(SCRIPTS)

    def spoil(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: spoil(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [spoil(inner, key) for inner in value]
        return next(scripts) if isinstance(value, str) and key not in WORDS_OF_THE_SCHEMA else value

    spoiled: dict[str, Any] = spoil(report)
    spoiled["versions"] = {script: script for script in SCRIPTS}
    spoiled["reasons"] = list(SCRIPTS)
    return spoiled


def of_wrong_types(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield reports in which each top-level field, and each field of the first layer, in turn is something else."""
    wrong = itertools.cycle(WRONG)
    for name in report:
        if name != "schema_version":
            yield report | {name: next(wrong)}
    for name in report["layers"][0]:
        spoiled = copy.deepcopy(report)
        spoiled["layers"][0][name] = next(wrong)
        yield spoiled


def changed(report: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    spoiled = copy.deepcopy(report)
    change(spoiled)
    return spoiled


def nested(depth: int) -> str:
    """Return JSON text of a report whose layers are lists in lists."""
    return f'{{"schema_version": 5, "layers": {"[" * depth}{"]" * depth}, "reasons": [], "totals": {{}}}}'
