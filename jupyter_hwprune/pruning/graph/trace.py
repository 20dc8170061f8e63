"""The graph of one run of a model, in ATen operators that are each exact, with every tensor's name."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule

from ...errors import PruneError, first_line
from ...example import Example
from ...quiet import quiet


@dataclass(frozen=True)
class Trace:
    graph: GraphModule
    names: dict[str, str]  # placeholder -> the parameter or buffer that it stands for
    constants: dict[str, Tensor]  # placeholder -> a tensor made in the model's code
    inputs: tuple[str, ...]  # placeholders of the example's own tensors, in order


def trace(model: nn.Module, example: Example) -> Trace:
    """Record the graph of a copy of `model`; raises PruneError with what stood in the way."""
    own = copy.deepcopy(model).eval()
    with _plain_attention(), quiet(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(own, example.args, example.kwargs, strict=False)
        except Exception as error:
            raise PruneError(
                f"torch.export cannot read this model's graph, in which channels are followed ({first_line(error)}). "
                "Make its forward free of branches on the values of tensors, or use a pattern that keeps the shapes, "
                "such as --pattern unstructured."
            ) from error
    names, constants, inputs = {}, {}, []
    for spec in program.graph_signature.input_specs:
        placeholder = getattr(spec.arg, "name", "")
        if spec.kind in {InputKind.PARAMETER, InputKind.BUFFER} and spec.target:
            names[placeholder] = spec.target
        elif spec.kind is InputKind.CONSTANT_TENSOR and spec.target:
            constants[placeholder] = program.constants[spec.target]
        else:
            inputs.append(placeholder)
    return Trace(program.graph_module, names, constants, tuple(inputs))


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Have torch's own attention and encoder layers run their written-out path, not one opaque operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
