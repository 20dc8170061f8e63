"""Export a torch model to an ExportedProgram file in the dtype to run, with its example input inside.

A node reads its weight by the torch layer's name, so kernels can be matched to layers.
"""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import ExportError, first_line
from ..core.example import Example, tensors_of
from ..core.quiet import quiet
from .cases import Case

DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32")}
DTYPES |= dict.fromkeys(("int8", "float8"), torch.bfloat16)
"""The dtype of everything except the products: 8-bit models are 16-bit models with 8-bit products."""


def export_program(model: nn.Module, example: Example, folder: Path, name: str, dtype: str) -> Case:
    """Write `name`.pt2, and the outputs of the float32 model on the CPU. Raises ExportError, OSError."""
    own = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    path, inputs, expected = (folder / f"{name}{suffix}" for suffix in (".pt2", ".inputs.npz", ".expected.npz"))
    base = DTYPES[dtype]
    own, example, outputs = in_dtype(own, example, base)
    np.savez(expected, *[output.numpy() for output in outputs])
    np.savez(inputs)
    forward = own.forward

    @functools.wraps(forward)
    def plain(*args: Any, **kwargs: Any) -> list[Tensor]:  # the worker does not know the libraries' output classes
        return tensors_of(forward(*args, **kwargs))

    own.forward = plain
    try:
        with quiet():
            torch.export.save(torch.export.export(own, example.args, example.kwargs or None), path)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(
            f"torch cannot export this model in {base}: {first_line(error)}. Rewrite that part of its forward so that "
            "torch.export takes it (no branches on tensor values, no fixed dtype)."
        ) from error
    return Case(path, inputs, expected, ())


def in_dtype(own: nn.Module, example: Example, dtype: torch.dtype) -> tuple[nn.Module, Example, list[Tensor]]:
    """Convert the caller's copy of a model, and its example; also return the outputs of the float32 model."""
    outputs = example.as_float32().outputs(own.float())
    return own.to(dtype), example.in_dtype(dtype), outputs
