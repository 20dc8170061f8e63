"""Export a torch model to files for a toolchain: ONNX, or an ExportedProgram, both with the layers' names."""

from pathlib import Path

from torch import nn

from ..choose.choice import Choice
from ..core.example import Example
from ..toolchains import manifest_of
from ..toolchains.process import Progress, guarded_folder
from .cases import Case
from .onnx import export_onnx
from .program import export_program, is_narrow


def write_case(model: nn.Module, example: Example, choice: Choice, folder: Path, name: str, progress: Progress) -> Case:
    """Export a model in the form that the toolchain takes. Raises ExportError, and InputError if the folder is full."""
    progress("export", name)
    manifest = manifest_of(choice.judge.toolchain)
    with guarded_folder():
        if manifest.takes == "program":
            return export_program(model, example, folder, name, choice.dtype or "float32")
        dtype = choice.dtype if manifest.converts else "float32" if is_narrow(model) else None
        return export_onnx(model, example, folder, name, dtype, manifest.opset)
