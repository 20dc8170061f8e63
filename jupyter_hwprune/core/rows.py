"""Cut batches of any size into batches of the example's size, the only one that a compiled model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .example import Example


class RowsError(ValueError):
    """Inputs that cannot be cut into batches like the example; the text says why."""


def cut(given: Example, like: Example) -> list[list[Tensor]]:
    """Return the tensors of `given` in batches of the rows of `like`, the last one filled up with its last row.

    A tensor that has the example's shape and is no row of the batch stays as it is in each. Raises RowsError if the
    arguments, a type or the shape of a row differ from the example's.
    """
    have, want = (pytree.tree_flatten((each.args, each.kwargs)) for each in (given, like))
    if have[1] != want[1]:
        raise RowsError(f"the arguments ({_names(given)}) are not those of the example ({_names(like)})")
    pairs = list(zip(have[0], want[0], strict=True))
    for own, other in pairs:
        if not isinstance(other, Tensor) and (isinstance(own, Tensor) or (own is not other and own != other)):
            raise RowsError(f"an argument is {_kind(own)}, but the example has {_kind(other)}")
    tensors = [(own, other) for own, other in pairs if isinstance(other, Tensor)]
    rows, size = given.batch, like.batch
    return [[_part(own, other, start, rows, size) for own, other in tensors] for start in range(0, rows, size)]


def join(parts: Sequence[Sequence[Tensor]], rows: int, size: int) -> list[Tensor]:
    """Return the outputs of the batches that `cut` made as outputs for `rows` rows, in each batch of which are `size`.

    Raises RowsError for an output that has no rows, unless there was one whole batch.
    """
    if rows == size:
        return list(parts[0])
    for tensor in parts[0]:
        if tensor.ndim == 0 or tensor.shape[0] != size:
            raise RowsError(f"an output of shape {tuple(tensor.shape)} has no row for each of the {size} in a batch")
    return [torch.cat(same)[:rows] for same in zip(*parts, strict=True)]


def _part(own: Any, like: Tensor, start: int, rows: int, size: int) -> Tensor:
    if not isinstance(own, Tensor) or own.is_floating_point() != like.is_floating_point():
        raise RowsError(f"an input is {_kind(own)}, but the example has {_kind(like)}")
    if own.ndim and own.shape[0] == rows and like.shape[:1] == (size,) and own.shape[1:] == like.shape[1:]:
        part = own[start : start + size]
        missing = size - len(part)
        own = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
    if own.shape != like.shape:
        raise RowsError(f"an input of shape {tuple(own.shape)} has other rows than the example's {tuple(like.shape)}")
    found: Tensor = own.detach().to("cpu", like.dtype)
    return found


def _kind(value: Any) -> str:
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"{value!r:.40}"


def _names(example: Example) -> str:
    return ", ".join([*(f"position {at}" for at in range(len(example.args))), *example.kwargs])
