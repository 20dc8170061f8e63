"""Export a torch model to files for a toolchain: ONNX, or an ExportedProgram, both with the layers' names."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..choose.choice import Choice
from ..core.example import Example
from ..toolchains import manifest_of
from ..toolchains.process import Progress, guarded_folder
from .cases import Case
from .finish import finish, with_other_batches
from .onnx import export_onnx
from .program import export_program, is_narrow


def write_case(
    model: nn.Module,
    example: Example,
    choice: Choice,
    folder: Path,
    name: str,
    progress: Progress,
    *,
    outputs: Sequence[str] = (),
    report: str = "",
) -> Case:
    """Export a model in the form that the toolchain takes. Raises ExportError, and InputError if the folder is full.

    `outputs` are the names of the model's outputs. `report` is the identity of the model that is deployed, which its
    file says, "" for others.
    """
    progress("export", name)
    manifest = manifest_of(choice.judge.toolchain)
    own = "float32" if manifest.calibrates else choice.dtype  # int8 is then the compiler's to make
    with guarded_folder():
        if manifest.takes == "program":
            return export_program(model, example, folder, name, own or "float32")
        dtype = own if manifest.converts or manifest.calibrates else "float32" if is_narrow(model) else None
        case = export_onnx(model, example, folder, name, dtype, manifest.opset)
        said = {
            "hwprune.pattern": f"{choice.pattern} at {choice.sparsity:g}",
            "hwprune.target": choice.target.name,
            "hwprune.toolchain": choice.judge.toolchain,
            "hwprune.report": report,
        }
        opens = manifest.any_batch and choice.way == "run" and bool(outputs)
        named = () if manifest.tells_by_values else outputs
        case = finish(case, example, named, said if report else {}, opens=opens)
        return with_other_batches(case, model, example) if report and case.batch else case
