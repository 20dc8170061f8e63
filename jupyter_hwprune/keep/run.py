"""What a call returns: the pruned model, the report, and the compiler's files."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..choose.scoring import device_of
from ..core.errors import InputError, first_line
from ..pruning import copy_modes
from ..recipe.write import recipe_text
from ..render import mimebundle, summary, text
from ..report import Report
from ..toolchains.process import new_folder, remove
from .saved import read, rebuild, save
from .saved.structure import Structure


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

    def __init__(
        self,
        model: nn.Module,
        report: Report,
        artifacts: Mapping[str, Path],
        folder: Path,
        structure: Structure | None = None,
    ) -> None:
        self.model = model
        self._structure = structure
        super().__init__(report)
        self.artifacts = dict(artifacts)
        kept = set(self.artifacts.values())
        for path in folder.iterdir():
            if path not in kept and path.name not in {f"{k.name}.data" for k in kept}:
                remove(path) if path.is_dir() else path.unlink()
        weakref.finalize(self, remove, folder)

    def save(self, folder: str | Path) -> None:
        """Write the model's weights, its masks and its report to a folder, which `load` reads; no code goes with them.

        An earlier run there is replaced once this one is written. Raises InputError where the folder holds anything
        else, or cannot be written.
        """
        save(folder, self.model, self.report, self._structure)

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


def load(folder: str | Path, model: nn.Module, weights: Literal["saved", "own"] = "saved") -> Run:
    """Return the run that `Run.save` wrote, its model rebuilt from a copy of the dense `model`, which code has made.

    With "own" the zeros and cuts are made in another model of the same kind, which keeps the rest of its own
    weights. The report is the saved one, and there are no artifacts. Raises ReportError for a folder that is
    damaged or of another version, InputError for a model that does not fit.
    """
    if weights not in {"saved", "own"}:
        raise InputError(f'weights is {weights!r}; it is "saved", or "own" for those of the model given.')
    if not isinstance(model, nn.Module):
        raise InputError(f"The model is a {type(model).__name__}; it has to be a torch nn.Module.")
    contents, report = read(folder)
    if weights == "own" and report.request.permute:
        raise InputError(
            f"The channels of the run in {folder} changed places (--permute) to suit its own weights, so its masks say "
            "nothing of other weights. Prune this model by the same line instead."
        )
    own = copy.deepcopy(model).cpu()
    rebuild(folder, contents, own, with_saved_weights=weights == "saved")
    return Run(copy_modes(model, own).to(device_of(model)), report, {}, new_folder(), contents.structure)
