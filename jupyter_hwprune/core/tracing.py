"""One torch.export of a model for all who read its graph: the channels' analysis, and the export to ONNX."""

import contextlib
import io
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from .copying import copied
from .example import Example
from .outputs import return_only_tensors
from .quiet import quiet


@dataclass(frozen=True)
class _Known:
    """A program, and what it was traced from: it stands for as long as these are the same tensors, unchanged."""

    program: ExportedProgram
    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...]


_known: weakref.WeakKeyDictionary[nn.Module, _Known] = weakref.WeakKeyDictionary()


def program_of(model: nn.Module, example: Example) -> ExportedProgram:
    """Trace a copy of `model`, which shares its parameters, on the example; it returns its tensors alone.

    The same model with the same example is traced once, until a weight changes. Raises whatever torch.export raises.
    """
    tensors = (*model.parameters(), *model.buffers(), *example.tensors)
    known = _known.get(model)
    if known is not None and _same(known, tensors):
        return known.program
    own = copied(model, {id(parameter): parameter for parameter in model.parameters()}).eval()
    return_only_tensors(own)
    said = io.StringIO()  # where torch.export stops, it prints the graph so far
    with plain_attention(), quiet(), contextlib.redirect_stderr(said), torch.no_grad():
        program = torch.export.export(own, example.args, example.kwargs, strict=False)
    if not any(each.is_inference() for each in tensors):  # such a tensor has no version to tell a change by
        _known[model] = _Known(program, tensors, _changes(tensors))
    return program


def _same(known: _Known, tensors: tuple[Tensor, ...]) -> bool:
    alike = len(known.tensors) == len(tensors) and all(a is b for a, b in zip(known.tensors, tensors, strict=True))
    return alike and known.versions == _changes(tensors)


def _changes(tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(each._version for each in tensors)  # noqa: SLF001 - torch's own count of changes in place


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Have torch's own attention and encoder layers run their written-out path, not one opaque operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
