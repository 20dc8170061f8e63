"""The page of the Python API: every public name, what the calls return, the report's parts, and the errors."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import jupyter_hwprune
from jupyter_hwprune import report
from jupyter_hwprune.core import errors

INTRODUCTION = """# Python

Each form of the magic is also a plain function. Importing the package takes milliseconds and does not import torch;
everything is loaded when it is first used. `hwprune(effort=...)` and `zoo(effort=...)` set how long a measurement
takes: `jupyter_hwprune.choose.effort` has `FULL`, the default, `QUICK`, to rank many candidates, and `Effort` for
your own.
"""
RETURNED = (
    "jupyter_hwprune.survey.matrix.Targets",
    "jupyter_hwprune.survey.matrix.TargetHere",
    "jupyter_hwprune.core.target.Target",
    "jupyter_hwprune.core.target.Judge",
    "jupyter_hwprune.survey.doctor.Doctor",
    "jupyter_hwprune.toolchains.Status",
    "jupyter_hwprune.toolchains.Device",
    "jupyter_hwprune.toolchains.Remark",
    "jupyter_hwprune.survey.smoke.Smoke",
    "jupyter_hwprune.survey.meters.MeterHere",
    "jupyter_hwprune.survey.profilers.ProfilerHere",
    "jupyter_hwprune.survey.provision.Environments",
    "jupyter_hwprune.survey.provision.EnvironmentHere",
    "jupyter_hwprune.toolchains.environments.Environment",
    "jupyter_hwprune.survey.advice.Advice",
    "jupyter_hwprune.survey.advice.Advised",
    "jupyter_hwprune.survey.advice.Absent",
    "jupyter_hwprune.survey.simulation.Simulation",
    "jupyter_hwprune.survey.simulation.Simulated",
    "jupyter_hwprune.choose.effort.Effort",
    "jupyter_hwprune.core.goal.Goal",
)
PARTS_OF_A_ROW = (
    "jupyter_hwprune.core.target.Offer",
    *(f"jupyter_hwprune.core.pattern.{name}" for name in ("Channel", "NM", "Block", "Unstructured", "Depth")),
    *(f"jupyter_hwprune.core.rules.{name}" for name in ("Rule", "SparseKernels", "LayerFacts")),
)


def pages() -> dict[str, str]:
    functions = [name for name in jupyter_hwprune.__all__ if inspect.isfunction(inspect.unwrap(_public(name)))]
    own_errors = [cls.__name__ for cls in _own_classes(errors)]
    classes = [name for name in jupyter_hwprune.__all__ if name not in {*functions, *own_errors}]
    parts = [cls.__name__ for cls in _own_classes(report) if cls is not report.Report]
    sections = [
        INTRODUCTION,
        "## Functions",
        *(
            _auto("function", f"jupyter_hwprune.{name}")
            for name in sorted(functions, key=lambda name: (name != "hwprune", name))
        ),
        "## Runs and reports",
        *(_auto("class", f"jupyter_hwprune.{name}") for name in sorted(classes, reverse=True)),
        "## The parts of a report",
        *(_auto("class", f"jupyter_hwprune.report.{name}") for name in parts),
        "## What the other calls return",
        *(_auto("class", name) for name in RETURNED),
        "## The parts of a target's row",
        *(_auto("class", name) for name in PARTS_OF_A_ROW),
        f"## Errors\n\n{_tree()}",
        *(_auto("exception", f"jupyter_hwprune.{name}") for name in own_errors),
    ]
    return {"api.md": "\n\n".join(sections) + "\n"}


def _public(name: str) -> Any:
    return getattr(jupyter_hwprune, name)


def _own_classes(module: object) -> list[type]:
    """Return a module's own classes in the order of its source."""
    found = [value for value in vars(module).values() if inspect.isclass(value)]
    own = [cls for cls in found if cls.__module__.startswith(getattr(module, "__name__", ""))]
    return [cls for cls in own if dataclasses.is_dataclass(cls) or issubclass(cls, Exception)]


def _auto(kind: str, name: str) -> str:
    """Ask autodoc, which speaks reStructuredText, for one object."""
    return f"```{{eval-rst}}\n.. auto{kind}:: {name}\n```"


def _tree() -> str:
    lines = (inspect.getdoc(errors) or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("HwpruneError"))
    return "```text\n" + "\n".join(lines[start:]).rstrip() + "\n```"
