"""A case: a model exported for a toolchain as ONNX or an ExportedProgram, with torch's outputs for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import nn

from ..choose.choice import Choice
from ..core.example import Example
from ..toolchains import manifest_of
from ..toolchains.process import Progress, guarded_folder
from .onnx import export_onnx
from .program import export_program


class Case(Protocol):
    """A model exported for a toolchain: an ONNX file or a torch ExportedProgram."""

    @property
    def model(self) -> Path: ...
    @property
    def inputs(self) -> Path: ...
    @property
    def input_names(self) -> tuple[str, ...]: ...
    @property
    def expected(self) -> Path: ...
    def layers_of(self, names: list[str], op: str) -> list[str]:
        """Return the torch layers that a kernel computes, given the runtime's names for it."""

    def with_layer_outputs(self, model: nn.Module, example: Example) -> tuple[Case, list[str]] | None:
        """Export a second case that returns every layer's output, with the layers' names; None if the form cannot."""


def write_case(model: nn.Module, example: Example, choice: Choice, folder: Path, name: str, progress: Progress) -> Case:
    """Export a model in the form that the toolchain takes. Raises ExportError, and InputError if the folder is full."""
    progress("export", name)
    manifest = manifest_of(choice.judge.toolchain)
    with guarded_folder():
        if manifest.takes == "program":
            return export_program(model, example, folder, name, choice.dtype or "float32")
        dtype = choice.dtype if manifest.converts else None
        return export_onnx(model, example, folder, name, dtype, manifest.opset)
