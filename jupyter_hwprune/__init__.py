"""Prune a PyTorch model for the chip it will run on, and prove in the notebook what it bought.

All but the errors is loaded when it is first used: importing this package takes milliseconds and imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .core.errors import (
    ExportError,
    HwpruneError,
    InputError,
    MismatchError,
    NothingFitsError,
    PruneError,
    ReportError,
    RequirementError,
    ToolchainError,
)

if TYPE_CHECKING:
    from .checkpoint import prune_folder
    from .core.ranges import layer_ranges
    from .flow import hwprune
    from .keep.run import Run, Shown, load
    from .modelzoo import zoo
    from .notebook.panel import panel
    from .pruning.attention import MultiheadAttention
    from .report import Report
    from .report.merging import merge
    from .survey.advice import advise
    from .survey.doctor import doctor
    from .survey.matrix import targets
    from .survey.provision import setup
    from .survey.simulation import simulate

__version__ = "0.1.0"
__all__ = ["ExportError", "HwpruneError", "InputError", "MismatchError", "NothingFitsError", "PruneError"]
__all__ += ["MultiheadAttention", "Report", "ReportError", "RequirementError", "Run", "Shown", "ToolchainError"]
__all__ += [
    "advise",
    "doctor",
    "hwprune",
    "layer_ranges",
    "load",
    "merge",
    "panel",
    "prune_folder",
    "setup",
    "simulate",
]
__all__ += ["targets", "zoo"]

_HOMES = {
    **dict.fromkeys(("Run", "Shown", "load"), "keep.run"),
    "MultiheadAttention": "pruning.attention",
    "Report": "report",
    "advise": "survey.advice",
    "doctor": "survey.doctor",
    "hwprune": "flow",
    "layer_ranges": "core.ranges",
    "merge": "report.merging",
    "panel": "notebook.panel",
    "prune_folder": "checkpoint",
    "setup": "survey.provision",
    "simulate": "survey.simulation",
    "targets": "survey.matrix",
    "zoo": "modelzoo",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(shell: Any) -> None:
    """Register the magics: `%load_ext jupyter_hwprune`."""
    from .notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Unregister the magics: `%unload_ext jupyter_hwprune`."""
    from .notebook.magics import unload

    unload(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Say where the extension's files stand, for `jupyter-builder develop`; a wheel brings them in place."""
    return [{"src": "labextension", "dest": "jupyter-hwprune"}]
