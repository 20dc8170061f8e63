"""PT2E's calibration: the inputs run through a program that observes the ranges of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def calibrate(prepared: Any, example_inputs: Any, batches: Iterable[Iterable[Any]]) -> None:
    """Run the arrays of each batch in the places of the example's tensors; its other inputs stay as they are."""
    import torch
    from torch.utils import _pytree as pytree

    leaves, form = pytree.tree_flatten(example_inputs)
    with torch.no_grad():
        for batch in batches:
            values = iter(batch)
            own = [
                torch.from_numpy(next(values)).to(leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf
                for leaf in leaves
            ]
            args, kwargs = pytree.tree_unflatten(own, form)
            prepared(*args, **kwargs)
