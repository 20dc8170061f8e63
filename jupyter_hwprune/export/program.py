"""Export a torch model to an ExportedProgram file in the dtype to run, with its example input inside.

A node reads its weight by the torch layer's name, so kernels can be matched to layers.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument

from ..core.copying import copied
from ..core.errors import ExportError, first_line
from ..core.example import Example
from ..core.outputs import return_only_tensors
from ..core.quiet import quiet
from .cases import Case

DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32")}
DTYPES |= dict.fromkeys(("int8", "float8"), torch.bfloat16)
"""The dtype of everything except the products: 8-bit models are 16-bit models with 8-bit products."""


def export_program(model: nn.Module, example: Example, folder: Path, name: str, dtype: str) -> Case:
    """Write `name`.pt2, and the outputs of the float32 model on the CPU. Raises ExportError, OSError."""
    own = copied(model).eval().requires_grad_(requires_grad=False)
    path, inputs, expected = (folder / f"{name}{suffix}" for suffix in (".pt2", ".inputs.npz", ".expected.npz"))
    base = DTYPES[dtype]
    own, example, outputs = in_dtype(own, example, base)
    np.savez(expected, *[output.numpy() for output in outputs])
    return_only_tensors(own)  # the worker does not know the libraries' output classes
    try:
        with quiet():
            program = torch.export.export(own, example.args, example.kwargs or None)
            torch.export.save(program, path)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(
            f"torch cannot export this model in {base}: {first_line(error)}. Rewrite that part of its forward so that "
            "torch.export takes it (no branches on tensor values, no fixed dtype)."
        ) from error
    np.savez(inputs, *map(_array, example.tensors))
    return Case(path, inputs, expected, _names_of_tensors(program))


def _names_of_tensors(program: ExportedProgram) -> tuple[str, ...]:
    """Return the names of the inputs that are tensors, in the order of the example's."""
    inputs = [each for each in program.graph_signature.input_specs if each.kind is InputKind.USER_INPUT]
    return tuple(each.arg.name for each in inputs if isinstance(each.arg, TensorArgument))


def _array(tensor: Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).detach().numpy()


def is_narrow(model: nn.Module) -> bool:
    """Say whether all weights of a model are in 16 bits, in which no runtime on a CPU computes."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    return bool(dtypes) and dtypes <= {torch.float16, torch.bfloat16}


def in_dtype(own: nn.Module, example: Example, dtype: torch.dtype) -> tuple[nn.Module, Example, list[Tensor]]:
    """Convert the caller's copy of a model, and its example; also return the outputs of the float32 model."""
    try:
        outputs = example.as_float32().outputs(own.float())
    except Exception as error:
        raise ExportError(
            f"The model does not run in float32, with which the compiled model is compared: {first_line(error)}. Leave "
            "out the fixed dtype in its forward, such as .half() or .bfloat16()."
        ) from error
    return own.to(dtype), example.in_dtype(dtype), outputs
