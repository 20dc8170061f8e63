"""The tensors among a model's outputs; what else it returns is left out of every check, export and measurement."""

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .errors import InputError, counted, first_of


def tensors_of(output: Any) -> list[Tensor]:
    """Return the tensors of an output in a fixed order: of mappings, sequences, dataclasses and registered classes."""
    return [leaf for _, leaf in _leaves(output, "") if isinstance(leaf, Tensor)]


def with_tensors(output: Any, tensors: Iterator[Tensor]) -> Any:
    """Return an output of the same form with other tensors, taken in the order of `tensors_of`.

    Numbers, texts and None stay as they are; any other value, such as a cache, becomes None.
    """
    if isinstance(output, Tensor):
        return next(tensors)
    if isinstance(output, MutableMapping):  # transformers' outputs are mappings and dataclasses at once
        new = copy.copy(output)
        for key, part in output.items():
            new[key] = with_tensors(part, tensors)
        return new
    if isinstance(output, (list, tuple)):
        parts = [with_tensors(part, tensors) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    if is_dataclass(output) and not isinstance(output, type):
        return replace(
            output, **{each.name: with_tensors(getattr(output, each.name), tensors) for each in fields(output)}
        )
    leaves, form = pytree.tree_flatten(output)
    if len(leaves) == 1 and leaves[0] is output:
        return output if isinstance(output, (bool, int, float, str, type(None))) else None
    return pytree.tree_unflatten([with_tensors(leaf, tensors) for leaf in leaves], form)


def return_only_tensors(own: nn.Module) -> None:
    """Make a copy of ours return its tensors alone: no exporter knows caches or other classes of the libraries."""
    own.register_forward_hook(lambda _module, _args, output: tensors_of(output))


def remark_on_left_out(output: Any) -> str | None:
    """Say what the model returns beside tensors; None where there is nothing."""
    others = [f"{path.strip('.') or 'output'} ({type(leaf).__name__})" for path, leaf in _others(output)]
    if not others:
        return None
    verb = "is" if len(others) == 1 else "are"
    return (
        f"{counted(len(others), 'value')} among the model's outputs {verb} no tensor and {verb} left out of what is "
        f"compared, exported and measured: {first_of(others)}. A cache can be switched off in the model's "
        "configuration (use_cache=False)."
    )


def require_dense_tensors(output: Any) -> list[Tensor]:
    """Return the output's tensors; raises InputError if there are none, or for one that no runtime can return."""
    tensors = tensors_of(output)
    if not tensors:
        raise InputError(
            f"The model returns no tensor, but {_kind(output)}, so there is nothing to check a compiled model against. "
            "Return a tensor, or a tuple, dict or dataclass of tensors."
        )
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized:
            kind = "a quantised tensor" if tensor.is_quantized else f"a sparse tensor ({tensor.layout})"
            cure = "dequantize()" if tensor.is_quantized else "to_dense()"
            raise InputError(
                f"Among the model's outputs is {kind}, which no runtime returns. Return it as y.{cure} from forward."
            )
    return tensors


def _kind(output: Any) -> str:
    return "None" if output is None else f"a value of type {type(output).__name__}"


def _others(output: Any) -> Iterator[tuple[str, Any]]:
    return ((path, leaf) for path, leaf in _leaves(output, "") if leaf is not None and not isinstance(leaf, Tensor))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(str(place), part) for place, part in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(field.name, getattr(value, field.name)) for field in fields(value)]
    else:
        inner = pytree.tree_leaves(value)
        if value is None or (len(inner) == 1 and inner[0] is value):
            yield path, value
            return
        parts = [(str(place), part) for place, part in enumerate(inner)]
    for name, part in parts:
        yield from _leaves(part, f"{path}.{name}")
