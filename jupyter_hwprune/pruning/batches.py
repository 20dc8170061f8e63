"""Calibration batches of enough rows: small ones are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..core.example import Example

TOGETHER_ROWS = 64  # the variance within a smaller batch would come out too small


def joined(batches: Sequence[Example]) -> list[Example]:
    """Join neighbours of the same shape until they have enough rows."""
    return list(_neighbours(batches))


def _neighbours(batches: Sequence[Example]) -> Iterator[Example]:
    held: list[Example] = []
    for each in batches:
        if held and (_shapes(each) != _shapes(held[0]) or sum(own.batch for own in held) >= TOGETHER_ROWS):
            yield _concatenated(held)
            held = []
        held.append(each)
    if held:
        yield _concatenated(held)


def _shapes(example: Example) -> list[tuple[int, ...]]:
    """Return what has to agree for rows to be joined: shapes without the rows, and tensors that have none."""
    return [tuple(t.shape[1:]) if t.ndim and t.shape[0] == example.batch else (-1, id(t)) for t in example.tensors]


def _concatenated(batches: Sequence[Example]) -> Example:
    if len(batches) == 1:
        return batches[0]
    leaves = [pytree.tree_flatten((each.args, each.kwargs)) for each in batches]
    (first, structure), rows = leaves[0], batches[0].batch
    parts = [
        torch.cat([own[place] for own, _ in leaves]) if isinstance(leaf, Tensor) and leaf.shape[:1] == (rows,) else leaf
        for place, leaf in enumerate(first)
    ]
    return Example(*pytree.tree_unflatten(parts, structure))
