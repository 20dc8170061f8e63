"""A case: a model exported for a toolchain as ONNX or an ExportedProgram, with torch's outputs for comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ..core.example import Example


@dataclass(frozen=True)
class Rows:
    """Inputs of another batch than the example's, and torch's outputs for them."""

    batch: int
    inputs: Path
    expected: Path


@dataclass(frozen=True)
class Case:
    """The file of a model, and its inputs and torch's float32 outputs for them as .npz.

    An ExportedProgram's kernels come named after layers, and its inputs in bfloat16 are written in float32, as numpy
    lacks it. A file that takes any batch names that of the example as `batch`; `others` are those that show it, and
    `fixed` says why a file takes no other.
    """

    model: Path
    inputs: Path
    expected: Path
    input_names: tuple[str, ...]
    batch: int | None = field(default=None, kw_only=True)
    fixed: str | None = field(default=None, kw_only=True)
    others: tuple[Rows, ...] = field(default=(), kw_only=True)

    def layers_of(self, names: list[str], op: str) -> list[str]:  # noqa: ARG002 - an ONNX file needs it
        """Return the torch layers that a kernel computes, given the runtime's names for it."""
        return names

    def with_layer_outputs(self, model: nn.Module, example: Example) -> tuple[Case, list[str]] | None:  # noqa: ARG002
        """Export a second case that returns every layer's output, with the layers' names; None if the form cannot."""
        return None
