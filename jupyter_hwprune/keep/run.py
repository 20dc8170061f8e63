"""The result of a call: the pruned model, the report, and the compiler's files."""

import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..choose.scoring import device_of
from ..core.door import one_door
from ..core.errors import InputError, PruneError, ReportError, RequirementError, first_line
from ..pruning import copy_modes
from ..pruning.taking import take
from ..pruning.training.holding import held
from ..recipe.write import recipe_text
from ..render import mimebundle, summary, text
from ..report import Report
from ..report.requirements import Requirement, check, unmet
from ..toolchains.folders import LOCK, remove
from ..toolchains.process import new_folder
from .exported import Signature, export
from .saved import read, rebuild, save, zeros_of
from .saved.files import artifacts_in
from .saved.structure import Structure


class Shown:
    """Displays a report like a run's: a merged report, for example, or the report of a model from SparseZoo."""

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

    The files are in a temporary folder that is deleted with this object: copy the files to keep.
    """

    def __init__(
        self,
        model: nn.Module,
        report: Report,
        artifacts: Mapping[str, Path],
        folder: Path,
        structure: Structure | None,
        signature: Signature | None = None,
    ) -> None:
        super().__init__(report)
        self.model, self._structure, self._signature = model, structure, signature
        self.artifacts = dict(artifacts)
        kept = {LOCK, *(path.name for path in self.artifacts.values())}
        for path in folder.iterdir():
            if kept.isdisjoint((path.name, path.name.removesuffix(".data"))):
                remove(path) if path.is_dir() else path.unlink()
        weakref.finalize(self, remove, folder)

    @one_door(PruneError)
    def hold(self) -> AbstractContextManager[None]:
        """Hold the zeros of `model` while a training loop of your own runs: `with run.hold(): train(run.model)`.

        With any torch optimiser, made before or inside: gradients of removed weights are zero, and after each step so
        are the weights, and what momentum and weight decay remember of them. Removed channels need no holding.
        Train `model` itself, not a copy of it. Raises InputError if zeros of the report are gone already.
        """
        return held(self.model, zeros_of(self.model, self.report))

    @one_door(ReportError)
    def save(self, folder: str | Path) -> None:
        """Write the model's weights, masks, report and compiled files to a folder, without code; `load` reads it.

        An earlier run in the folder is replaced once this one is complete. Raises InputError if the folder holds
        anything else, or cannot be written.
        """
        save(folder, self.model, self.report, self._structure, self.artifacts)

    @one_door(ReportError)
    def export(self, folder: str | Path) -> None:
        """Write a folder to deploy: the compiled files, a script that runs them, the example input and the report.

        Raises InputError if nothing was compiled, if the folder holds anything, or if it cannot be written.
        """
        if self._signature is None or not self.artifacts:
            raise InputError(
                "There is nothing to export: this run was loaded, or nothing compiled it. Run %hwprune where one of "
                "the target's toolchains is, and export that run."
            )
        export(folder, self.artifacts, self.report, self._signature)

    @one_door(PruneError)
    def to_sparseml(self, path: str | Path | None = None) -> str:
        """Return a SparseML recipe that makes the same zeros in the dense model in one shot; also write it to `path`.

        Raises InputError if no recipe can (for removed channels, for example), or if the file cannot be written.
        """
        text = recipe_text(self.model, self.report)
        if path is not None:
            try:
                Path(path).write_text(text, encoding="utf-8")
            except OSError as error:
                raise InputError(f"The recipe cannot be written to {path}: {first_line(error)}.") from error
        return text


def required(run: Run, requirements: Sequence[Requirement]) -> Run:
    """Return the run if it meets every requirement; otherwise raises RequirementError, which holds it."""
    said = unmet(check(run.report, requirements))
    if said is not None:
        raise RequirementError(f"{said} The run is kept: .run of this error has its model, report and files.", run)
    return run


@one_door(ReportError)
def load(folder: str | Path, model: nn.Module, weights: Literal["saved", "own"] = "saved") -> Run:
    """Load a run that `Run.save` wrote, and rebuild its model from a copy of the dense `model` built by your code.

    With "own", `model` keeps its own weights and gets only the zeros and cuts. The report is the saved one, and so are
    the artifacts, which stay in the folder; with "own" there are none. Raises ReportError if the folder is damaged or
    of another version, InputError if the model does not fit.
    """
    if weights not in {"saved", "own"}:
        raise InputError(f'weights is {weights!r}; give "saved", or "own" for the weights of the given model.')
    if not isinstance(model, nn.Module):
        raise InputError(f"The model is a {type(model).__name__}; it has to be a torch nn.Module.")
    contents, report = read(folder)
    if weights == "own" and report.request.permute:
        raise InputError(
            f"The run in {folder} reordered its channels for its own weights (--permute), so its masks do not fit "
            "other weights. Prune this model with the same line instead."
        )
    own = take(model, finite=False).model
    rebuild(folder, contents, own, with_saved_weights=weights == "saved")
    return Run(
        copy_modes(model, own, contents.structure.blocks).to(device_of(model)),
        report,
        artifacts_in(folder, contents.files, contents.artifacts) if weights == "saved" else {},
        new_folder(),
        contents.structure,
    )
