"""What is asked of a worker, in one place: the contract's settings, and the cases as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from .choice import Choice
from .example import Example
from .export import export_onnx
from .kernels import Case
from .program import export_program
from .toolchains import interpreter, opset_of, takes_program, toolchain_file
from .toolchains.process import CACHE, Progress, guarded_folder

ANSWERS = {
    "rate": ["layers"],
    "prove": ["errors", "machine", "device", "versions"],
    "count": ["counted"],
    "run": ["versions"],
    "simulate": ["simulated", "machine", "versions"],
}


def write_cases(
    models: Mapping[str, nn.Module],
    example: Example,
    choice: Choice,
    folder: Path,
    progress: Progress,
    *,
    written: Mapping[str, Case],
) -> dict[str, Case]:
    """Write the models in the form that the toolchain takes, but for those that are `written` already."""
    cases: dict[str, Case] = {}
    for name, model in models.items():
        if name in written:
            cases[name] = written[name]
            continue
        progress("export", name)
        with guarded_folder():
            if takes_program(choice.stack.toolchain):
                cases[name] = export_program(model, example, folder, name, choice.dtype or "float32")
            else:
                dtype = choice.dtype if choice.stack.dtypes else None
                cases[name] = export_onnx(model, example, folder, name, dtype, opset_of(choice.stack.toolchain))
    return cases


def request_for(
    action: str,
    choice: Choice,
    folder: Path,
    cases: Mapping[str, Case],
    *,
    layers: Sequence[str] = (),
    sparse: Sequence[str] = (),
    plans: Mapping[str, Any] | None = None,
    graphs: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """Return the request; `layers` are all that the toolchain may run sparsely, `sparse` those of the pruned case.

    Without `graphs` all cases are started kernel by kernel, since one of them cannot be held by a graph.
    """
    first = next(iter(cases.values()))
    return {
        "action": action,
        "toolchain": str(toolchain_file(choice.stack.toolchain)),
        "python": interpreter(choice.stack.toolchain),
        "folder": str(folder),
        "inputs": str(first.inputs),
        "input_names": first.input_names,
        "cases": [
            {
                "name": name,
                "model": str(case.model),
                "expected": str(case.expected),
                "sparse": list(sparse) if name == "pruned" else [],
            }
            for name, case in cases.items()
        ],
        "settings": {
            "threads": choice.threads,
            "device": choice.stack.device,
            "dtype": choice.dtype,
            "layers": list(layers),
            "plans": dict(plans or {}),
            "graphs": graphs,
            "cache": str(CACHE / f"{choice.stack.toolchain}.json"),
        },
        "keep_files_of": "pruned",
        "answer": ANSWERS[action],
        **more,
    }
