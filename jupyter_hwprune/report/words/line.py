"""The `%hwprune` line of a report."""

from __future__ import annotations

import ast
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...core.options import OPTIONS, magic_line

if TYPE_CHECKING:
    from .. import Report


def line(report: Report, **changed: Any) -> str:
    """Return the line that repeats this run on a machine that can measure it, with other values for some options."""
    request, recipe = report.request, report.request.recipe
    asked = {name: getattr(request, name) for name in OPTIONS if hasattr(request, name)}
    asked |= {"model": request.model, "target": f"{request.target}:{request.toolchain}", "toolchain": None}
    if report.runtimes is not None:
        asked |= {"target": request.target, "toolchain": "all"}
    if request.importance == "magnitude" and (request.calib is None or "channel" not in request.pattern):
        asked["importance"] = None  # which is so by default
    if not request.takes_dtype:
        asked["dtype"] = None
    if recipe is not None:  # a recipe sets the method itself
        asked |= dict.fromkeys(("pattern", "sparsity", "importance", "allocation")) | {"recipe": recipe.name}
    if report.search is not None:  # which finds the share itself
        asked |= asdict(report.search.goal) | {"sparsity": None}
    asked |= {"eval": expression_of(report.scores and report.scores.expression), "variable": "run"}
    asked |= changed
    has_cell = request.recover is None and (request.trained or request.schedule != "one-shot")
    return magic_line(asked, cell=has_cell)  # the same cell goes under it


def expression_of(score: Any) -> str | None:
    """Return a score's name as an expression; None without a score, or if it is a function without a name."""
    name = score if isinstance(score, str) else getattr(score, "__name__", None)
    try:
        ast.parse(name or "", mode="eval")
    except SyntaxError:
        return None
    return name
