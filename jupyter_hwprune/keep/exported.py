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
from ..render import mimebundle, text
from ..report import Report, words
from ..toolchains import manifest_of
from ..toolchains.folders import remove
from .saved.files import copy_artifacts

EXAMPLE, SCRIPT = "example.npz", "run.py"
README = Template("""# $title

$headline

| file | holds |
| --- | --- |
$files

$how It takes a batch of $batch, the size that was measured; the names of inputs and outputs are those of the model's
`forward`.

```
$report
```
""")


@dataclass(frozen=True)
class Signature:
    """What a run was measured with: the example, and what the model's outputs are called, in order."""

    example: Example
    outputs: tuple[str, ...]


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
    said = words.words_of(report)
    copy_artifacts(artifacts, folder)
    held = {path.name: f"the {kind.replace('_', ' ')} file" for kind, path in artifacts.items()}
    for path in sorted(folder.glob("*.onnx")):
        _label(path, report, signature)
    main = _main_file(artifacts, report)
    script = manifest_of(report.request.toolchain).script
    how = "No script is known for this toolchain; its own tools run the files."
    if main is not None and script is not None:
        names = _input_names(folder / artifacts["onnx"].name)
        arrays: Any = dict(zip(names, map(_array, signature.example.tensors), strict=True))
        np.savez(folder / EXAMPLE, **arrays)
        filled = Template(script).substitute(model=main.name, threads=report.request.threads, example=EXAMPLE)
        (folder / SCRIPT).write_text(filled.lstrip(), encoding="utf-8")
        held |= {EXAMPLE: "the example input, by the names of the inputs", SCRIPT: f"runs `{main.name}` on the example"}
        how = f"`python {SCRIPT}` runs the model as it was measured."
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
        batch=report.request.batch,
        report=text(report),
    )
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _main_file(artifacts: Mapping[str, Path], report: Report) -> Path | None:
    """Return the file of the model that the headline is about, as far as it is there."""
    fastest = report.fastest
    if fastest is not None and fastest.dtype == "int8" and fastest.pruned:
        return artifacts.get("int8_onnx", artifacts.get("int8_xml"))
    return artifacts.get("onnx")


def _label(path: Path, report: Report, signature: Signature) -> None:
    """Name the outputs as the model does, and say in the file's metadata where it comes from."""
    import onnx

    large = path.with_name(f"{path.name}.data").exists()
    proto = onnx.load(str(path), load_external_data=not large)
    renamed = {}
    if len(signature.outputs) == len(proto.graph.output):
        own = [name or "output" for name in signature.outputs]
        renamed = {value.name: name for value, name in zip(proto.graph.output, own, strict=True)}
    taken = {value for node in proto.graph.node for value in (*node.input, *node.output)}
    if len({*renamed.values()}) == len(renamed) and taken.isdisjoint(renamed.values()):
        for value in (*proto.graph.output, *proto.graph.value_info):
            value.name = renamed.get(value.name, value.name)
        for node in proto.graph.node:
            node.input[:] = [renamed.get(value, value) for value in node.input]
            node.output[:] = [renamed.get(value, value) for value in node.output]
    request = report.request
    onnx.helper.set_model_props(
        proto,
        {each.key: each.value for each in proto.metadata_props}
        | {
            "hwprune.pattern": f"{request.pattern} at {request.sparsity:g}",
            "hwprune.target": request.target,
            "hwprune.toolchain": request.toolchain,
            "hwprune.report": f"{report.created} {report.fingerprints.pruned}",
        },
    )
    onnx.save(proto, str(path))


def _input_names(path: Path) -> Sequence[str]:
    """Return the names of the model's inputs, in the order of the example's tensors."""
    import onnx

    return [value.name for value in onnx.load(str(path), load_external_data=False).graph.input]


def _array(tensor: Tensor) -> np.ndarray:
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()
