"""The `%hwprune` line of a report."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from ...core.options import OPTIONS, magic_line

if TYPE_CHECKING:
    from .. import Report


def line(report: Report) -> str:
    """Return the line that repeats this run on a machine that can measure it."""
    request, recipe = report.request, report.request.recipe
    asked = {name: getattr(request, name) for name in OPTIONS if hasattr(request, name)}
    asked |= {"model": request.model, "target": f"{request.target}:{request.toolchain}", "toolchain": None}
    if not request.takes_dtype:
        asked["dtype"] = None
    if recipe is not None:  # a recipe sets the method itself
        asked |= dict.fromkeys(("pattern", "sparsity", "importance", "allocation")) | {"recipe": recipe.name}
    asked |= {"eval": _score(report), "variable": "run"}
    return magic_line(asked, cell=request.schedule != "one-shot")  # the same cell goes under it


def _score(report: Report) -> str | None:
    """Return the score as an expression; None without a score, or if it is a function without a name."""
    if report.scores is None:
        return None
    try:
        ast.parse(report.scores.expression, mode="eval")
    except SyntaxError:
        return None
    return report.scores.expression
