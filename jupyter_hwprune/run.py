"""What a call returns: the pruned model, the report, and the compiler's files."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .errors import InputError, first_line
from .recipe.write import recipe_text
from .render import mimebundle, summary, text
from .report import Report
from .toolchains.process import remove


class Shown:
    """A report by itself, shown as a run's is: one that was loaded from a file, or merged from two."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {summary(self.report)}>"

    def __str__(self) -> str:
        return text(self.report)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return mimebundle(self.report)


class Run(Shown):
    """`model` is the pruned copy, a plain nn.Module; `report` is pure data; `artifacts` are files by a short name.

    The files lie in a temporary folder that goes with this object: copy what is to stay.
    """

    def __init__(self, model: nn.Module, report: Report, artifacts: Mapping[str, Path], folder: Path) -> None:
        self.model = model
        super().__init__(report)
        self.artifacts = dict(artifacts)
        kept = set(self.artifacts.values())
        for path in folder.iterdir():
            if path not in kept and path.name not in {f"{k.name}.data" for k in kept}:
                remove(path) if path.is_dir() else path.unlink()
        weakref.finalize(self, remove, folder)

    def to_sparseml(self, path: str | Path | None = None) -> str:
        """Return a SparseML recipe that makes the same zeros in the dense model in one shot, and write it to `path`.

        Raises InputError where no recipe can, as for removed channels, or where the file cannot be written.
        """
        text = recipe_text(self.model, self.report)
        if path is not None:
            try:
                Path(path).write_text(text, encoding="utf-8")
            except OSError as error:
                raise InputError(f"The recipe cannot be written to {path}: {first_line(error)}.") from error
        return text
