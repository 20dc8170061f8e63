"""Exported files of this session, found again by what they were made from: the graph, its tensors, the example.

A second line on the same model, with another pattern or sparsity, then writes its dense model without exporting again.
"""

import atexit
import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from ..core.example import Example
from ..toolchains import folders
from .cases import Case

MOST_BYTES = 2 << 30
"""The most bytes of files that are remembered; the longest unused go first."""

C = TypeVar("C", bound=Case)
_cases: OrderedDict[str, Case] = OrderedDict()
_root: Path | None = None


def key_of(program: ExportedProgram, model: nn.Module, example: Example, more: Iterable[object] = ()) -> str:
    """Hash all that an exported file follows from; `more` holds the exporter's settings."""
    digest = hashlib.blake2b()
    for graph in program.graph_module.modules():
        if isinstance(graph, GraphModule):
            digest.update(graph.code.encode())
            stacks = [(node.name, [*node.meta.get("nn_module_stack", {}).values()]) for node in graph.graph.nodes]
            digest.update(repr(stacks).encode())
    digest.update(repr([(name, type(module).__name__) for name, module in model.named_modules()]).encode())
    digest.update(f"{program.graph_signature} {[*more]}".encode())
    held = {**program.state_dict, **program.constants, **{str(i): t for i, t in enumerate(example.tensors)}}
    for name, value in held.items():
        digest.update(f"{name} {type(value)} ".encode())
        if isinstance(value, Tensor):
            digest.update(f"{tuple(value.shape)} {value.dtype} ".encode())
            values = value.detach().cpu().contiguous().flatten()
            digest.update(values.view(torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()


def find(key: str, folder: Path, name: str, kind: type[C]) -> C | None:
    """Copy the files of a remembered case to `folder` under another name. Raises OSError."""
    known = _cases.get(key)
    if not isinstance(known, kind) or not known.model.exists():
        return None
    _cases.move_to_end(key)
    return _copied(known, folder, name)


def remember(key: str, case: Case) -> None:
    """Keep copies of a case's files, unless they take too much room. Raises OSError."""
    global _root  # noqa: PLW0603 - made on first use: importing the package writes nothing
    size = _bytes(case)
    if size > MOST_BYTES or key in _cases:
        return
    while _cases and size + sum(map(_bytes, _cases.values())) > MOST_BYTES:
        _, oldest = _cases.popitem(last=False)
        folders.remove(oldest.model.parent)
    if _root is None or not _root.exists():
        _root = folders.make()
        atexit.register(folders.remove, _root)
    own = _root / key[:16]
    own.mkdir(exist_ok=True)
    _cases[key] = _copied(case, own, "model")


def _bytes(case: Case) -> int:
    return sum(path.stat().st_size for path in (case.model, case.inputs, case.expected) if path.exists())


def _copied(case: C, folder: Path, name: str) -> C:
    """Copy files, never link them: a user may change a file of a run in place."""
    stem, paths = case.model.stem, []
    for path in (case.model, case.inputs, case.expected):
        paths.append(folder / f"{name}{path.name.removeprefix(stem)}")
        shutil.copyfile(path, paths[-1])
    return replace(case, model=paths[0], inputs=paths[1], expected=paths[2])
