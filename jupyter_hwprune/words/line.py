"""The `%hwprune` line of a report."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..report import Report


def line(report: Report) -> str:
    """Return the line that asks for this very run again, on a machine that can measure it."""
    request = report.request
    recipe = request.recipe
    options = {
        "input": request.input,
        "target": f"{request.target}:{request.toolchain}",
        "recipe": recipe.name if recipe else None,
        "calib": request.calib,
        "pattern": None if recipe else request.pattern,
        "sparsity": None if recipe else f"{request.sparsity:g}",
        "dtype": request.dtype,
        "importance": request.importance if request.importance not in {"magnitude", "recipe"} else None,
        "schedule": request.schedule if request.schedule != "one-shot" else None,
        "steps": str(request.steps) if request.schedule != "one-shot" else None,
        "allocation": request.allocation if request.allocation != "uniform" and not recipe else None,
        "batch": str(request.batch),
    }
    said = " ".join(f"--{name} {shlex.quote(value)}" for name, value in options.items() if value)
    said += "".join(f" --dense {shlex.quote(name)}" for name in request.dense)
    flags = " --permute" * request.permute + " --keep-all" * request.keep_all
    cell = "%" if request.schedule != "one-shot" else ""  # the same cell goes under it
    return f"{cell}%hwprune {shlex.quote(request.model)} {said}{flags} -o run"
