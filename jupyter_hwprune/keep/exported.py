"""A folder to deploy: the compiled files, a script that runs them as they were measured, and the report."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from torch import Tensor

from ..core.errors import InputError, first_line
from ..core.example import Example
from ..export.finish import OTHERS
from ..render import mimebundle, text
from ..report import Report, words
from ..toolchains import manifest_of
from ..toolchains.folders import remove
from ..toolchains.manifest import Manifest
from .saved.files import copy_artifacts

EXAMPLE, SCRIPT = "example.npz", "run.py"
README = Template("""# $title

$headline

| file | holds |
| --- | --- |
$files

$how

$batch

$names

```
$report
```
""")
OF_ONNX = """\
The names of inputs and outputs are those of the model's `forward`. Each model's file says in its metadata which pattern
it was pruned to, for which target, with which toolchain, and as `hwprune.report` the fingerprint of its weights, which
`report.json` holds too."""
OF_OTHERS = "Inputs and outputs are in the order of the model's `forward`, nested ones flattened."


@dataclass(frozen=True)
class Signature:
    """What a run was measured with, and whether its files take another batch; `fixed_batch` says why they do not."""

    example: Example
    any_batch: bool = False
    fixed_batch: str | None = None


def export(folder: str | Path, artifacts: Mapping[str, Path], report: Report, signature: Signature) -> None:
    """Write a folder that runs without this package. Raises InputError if it holds anything, or cannot be written."""
    target = Path(folder).expanduser().absolute()
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        if target.exists() and any(target.iterdir()):
            raise InputError(f"{target} holds files, which stay as they are. Choose another folder to export to.")
        aside.mkdir(parents=True)
        _write(aside, artifacts, report, signature)
        if target.exists():
            target.rmdir()
        aside.rename(target)
    except OSError as error:
        raise InputError(
            f"The run cannot be exported to {folder}: {first_line(error)}. Choose a folder that can be written."
        ) from error
    finally:
        remove(aside)


def _write(folder: Path, artifacts: Mapping[str, Path], report: Report, signature: Signature) -> None:
    said, manifest = words.words_of(report), manifest_of(report.request.toolchain)
    copy_artifacts(artifacts, folder)
    bound = f", for the type of device that it was made on and a batch of {report.request.batch} alone"
    held = {}
    for kind, path in artifacts.items():
        is_bound = kind.removeprefix("dense_").removeprefix("int8_") in manifest.bound
        held[path.name] = f"the {kind.replace('_', ' ')} file{bound * is_bound}"
    main = _main_file(artifacts, report, manifest.deploys)
    how = "No script is known for this toolchain; its own tools run the files."
    request = report.request
    script = None if main is None else manifest.script_for(main.name, EXAMPLE, request.threads, request.batch)
    if main is not None and script is not None:
        tensors = signature.example.tensors
        arrays: Any = dict(zip(_input_names(artifacts, signature.example), map(_array, tensors), strict=True))
        np.savez(folder / EXAMPLE, **arrays)
        (folder / SCRIPT).write_text(script.lstrip(), encoding="utf-8")
        held |= {EXAMPLE: "the example input, by the names of the inputs", SCRIPT: f"runs `{main.name}` on the example"}
        how = f"`python {SCRIPT}` runs `{main.name}` as it was measured.{_on_the_others(artifacts, report, manifest)}"
    (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
    page = f"<!doctype html><html><head><meta charset='utf-8'><title>{escape(said.title)}</title></head><body>"
    html = f"{page}{mimebundle(report)['text/html']}</body></html>"
    (folder / "report.html").write_text(html, encoding="utf-8")
    held |= {"report.json": "the report as data", "report.html": "the report as a page"}
    readme = README.substitute(
        title=said.title,
        headline=said.headline,
        files="\n".join(f"| `{name}` | {what} |" for name, what in held.items()),
        how=how,
        names=OF_ONNX if "onnx" in artifacts else OF_OTHERS,
        batch=_on_batch(report.request.batch, signature),
        report=text(report),
    )
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _main_file(artifacts: Mapping[str, Path], report: Report, kinds: Sequence[str]) -> Path | None:
    """Return the file of the fastest pruned model, of the first of these kinds that is there."""
    corners = report.corners.rows if report.corners else ()
    fastest = min((each for each in corners if each.pruned), key=lambda each: each.ms, default=None)
    return _of_kind(artifacts, kinds, "int8_" if fastest is not None and fastest.dtype == "int8" else "")


def _of_kind(artifacts: Mapping[str, Path], kinds: Sequence[str], prefix: str) -> Path | None:
    return next((artifacts[prefix + each] for each in kinds if prefix + each in artifacts), None)


def _on_the_others(artifacts: Mapping[str, Path], report: Report, manifest: Manifest) -> str:
    """Say how to run the other three models, and which of all is the fastest."""
    if report.corners is None or not report.corners.rows:
        return ""
    said = " All four models are here, dense and pruned in float and in int8: to run another one, put its name into "
    said += f"`{SCRIPT}`."
    if report.fastest is None or report.fastest.pruned:
        return said
    dense = _of_kind(artifacts, manifest.deploys, "dense_int8_")
    return f"{said} The fastest of them is the dense one in int8, `{dense.name}`." if dense is not None else said


def _on_batch(batch: int, signature: Signature) -> str:
    """Say which batches the files take, and how to give another."""
    if not signature.any_batch:
        why = "the size that was measured" if signature.fixed_batch is None else signature.fixed_batch
        return f"The files take a batch of {batch} alone: {why}."
    proven = " and ".join(map(str, sorted({*OTHERS, batch})))
    return (
        "The files take any batch, unless the table says otherwise; torch and the runtime agreed at batches of "
        f"{proven}. A runtime is fastest when it is told the batch as it loads a file, as `{SCRIPT}` does, and as was "
        f"measured at {batch}. For another, give inputs of so many rows and change that line; without it, one loaded "
        "model takes every batch, which costs time in some runtimes."
    )


def _input_names(artifacts: Mapping[str, Path], example: Example) -> Sequence[str]:
    """Return the names of the model's inputs, in the order of the example's tensors; numbers where a file has none."""
    if "onnx" not in artifacts:
        return [f"input_{number}" for number, _ in enumerate(example.tensors)]
    import onnx

    return [value.name for value in onnx.load(str(artifacts["onnx"]), load_external_data=False).graph.input]


def _array(tensor: Tensor) -> np.ndarray:
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()
