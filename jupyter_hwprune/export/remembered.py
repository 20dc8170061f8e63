"""Exported files of this session, found again by what they were made from: the graph, its tensors, the example.

A second line on the same model, with another pattern or sparsity, then writes its dense model without exporting again,
and a model of the same graph with other weights is written with those in their places.
"""

import atexit
import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Key:
    """Hashes of all that an exported file follows from: the graph with its shapes, each tensor, and the example."""

    graph: str
    tensors: Mapping[str, str]
    whole: str


C = TypeVar("C", bound=Case)
_cases: OrderedDict[str, tuple[Key, Case]] = OrderedDict()
_root: Path | None = None


def key_of(program: ExportedProgram, model: nn.Module, example: Example, more: Iterable[object] = ()) -> Key:
    """Hash all that an exported file follows from; `more` holds the exporter's settings."""
    digest = hashlib.sha256()
    for graph in program.graph_module.modules():
        if isinstance(graph, GraphModule):
            digest.update(graph.code.encode())
            stacks = [(node.name, [*node.meta.get("nn_module_stack", {}).values()]) for node in graph.graph.nodes]
            digest.update(repr(stacks).encode())
    digest.update(repr([(name, type(module).__name__) for name, module in model.named_modules()]).encode())
    digest.update(f"{program.graph_signature} {[*more]}".encode())
    held = {**program.state_dict, **program.constants}
    given = {str(place): tensor for place, tensor in enumerate(example.tensors)}
    for name, value in (held | given).items():
        form = (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else ()
        digest.update(f"{name} {type(value)} {form} ".encode())
    tensors = {name: digest_of(value) for name, value in held.items() if isinstance(value, Tensor)}
    graph = digest.hexdigest()
    whole = repr([graph, tensors, [digest_of(value) for value in given.values()]])
    return Key(graph, tensors, hashlib.sha256(whole.encode()).hexdigest())


def digest_of(tensor: Tensor) -> str:
    return hashlib.sha256(bytes_of(tensor)).hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """Return a tensor's values, row by row."""
    values = tensor.detach().cpu().contiguous().flatten()
    return values.view(torch.uint8).numpy().data if values.numel() else memoryview(b"")


def find(key: Key, folder: Path, name: str, kind: type[C]) -> C | None:
    """Bring the files of a remembered case to `folder` under another name. Raises OSError.

    The model may be the remembered file itself, so that it is to be replaced and not to be changed in place.
    """
    _, known = _cases.get(key.whole, (key, None))
    if not isinstance(known, kind) or not known.model.exists():
        return None
    _cases.move_to_end(key.whole)
    return _copied(known, folder, name)


def find_alike(key: Key, kind: type[C]) -> tuple[C, Key] | None:
    """Return a remembered case of the same graph with other weights, and its key; its files are not to be changed."""
    for own, known in _cases.values():
        if isinstance(known, kind) and own.graph == key.graph and known.model.exists():
            _cases.move_to_end(own.whole)
            return known, own
    return None


def remember(key: Key, case: Case) -> None:
    """Keep copies of a case's files, unless they take too much room. Raises OSError."""
    global _root  # noqa: PLW0603 - made on first use: importing the package writes nothing
    size = _bytes(case)
    if size > MOST_BYTES or key.whole in _cases:
        return
    while _cases and size + sum(_bytes(each) for _, each in _cases.values()) > MOST_BYTES:
        _, (_, oldest) = _cases.popitem(last=False)
        folders.remove(oldest.model.parent)
    if _root is None or not _root.exists():
        _root = folders.make()
        atexit.register(folders.remove, _root)
    own = _root / key.whole[:16]
    own.mkdir(exist_ok=True)
    _cases[key.whole] = key, _copied(case, own, "model")


def _bytes(case: Case) -> int:
    return sum(path.stat().st_size for path in (case.model, case.inputs, case.expected) if path.exists())


def _copied(case: C, folder: Path, name: str) -> C:
    """Link the model, which is large and which `finish` replaces by a file of the run's own; copy the others."""
    stem, paths = case.model.stem, []
    for path in (case.model, case.inputs, case.expected):
        paths.append(folder / f"{name}{path.name.removeprefix(stem)}")
        _bring(path, paths[-1], links=path == case.model)
    return replace(case, model=paths[0], inputs=paths[1], expected=paths[2])


def _bring(path: Path, to: Path, *, links: bool) -> None:
    to.unlink(missing_ok=True)
    if links:
        try:
            to.hardlink_to(path)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(path, to)
