"""The example input to trace, export, check and time a model with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .errors import InputError, first_line
from .outputs import require_dense_tensors, tensors_of


@dataclass(frozen=True)
class Example:
    """Positional and keyword arguments of the model's `forward`, as the user gave them (a tensor, tuple or dict)."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, value: Any) -> Example:
        if isinstance(value, Tensor):
            return cls((value,), {})
        if isinstance(value, (tuple, list)) and value:
            return cls(tuple(value), {})
        if isinstance(value, Mapping) and value:
            return cls((), dict(value))
        raise InputError(
            f"The example input is a {type(value).__name__}; it has to be a tensor, a tuple of the model's positional "
            "arguments, or a dict of its keyword arguments."
        )

    @property
    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    @property
    def batch(self) -> int:
        """The first dimension of the first tensor; 1 for a tensor without dimensions."""
        first = self.tensors[0]
        return first.shape[0] if first.ndim else 1

    def rebatched(self, batch: int) -> Example:
        """Return the example with `batch` rows, by repeating or cutting its own; other tensors stay as they are."""
        return self if batch == self.batch else self.taken(torch.arange(batch) % self.batch)

    def taken(self, rows: Tensor) -> Example:
        """Return the example with these of its rows; tensors that have other dimensions first stay as they are."""
        own = self.batch

        def take(t: Tensor) -> Tensor:
            return t.index_select(0, rows.to(t.device)) if t.ndim > 0 and t.shape[0] == own else t

        return self.changed(take)

    def on_cpu(self) -> Example:
        """Return the example on the CPU; raises InputError for a tensor without values."""
        without = next((t for t in self.tensors if t.is_meta), None)
        if without is not None:
            raise InputError(
                f"The example input of shape {tuple(without.shape)} is on the meta device, which holds no values. Give "
                "a real tensor of that shape, such as torch.randn(...) or a batch of your data."
            )
        return self.changed(lambda t: t.detach().cpu())

    def fresh(self) -> Example:
        """Return the example with copies of its tensors, for a pass that may write to its inputs."""
        copies: dict[int, Tensor] = {}  # one tensor that is given twice stays one

        def copy(t: Tensor) -> Tensor:
            if id(t) not in copies:
                copies[id(t)] = t.clone()
            return copies[id(t)]

        return self.changed(copy)

    def as_float32(self) -> Example:
        return self.in_dtype(torch.float32)

    def in_dtype(self, dtype: torch.dtype) -> Example:
        """Return the example with its floating-point tensors in that dtype."""
        return self.changed(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def lengthened(self, length: int) -> Example | None:
        """Return the example with sequences of one token extended to `length`; None if it has no such sequence."""
        short = [t for t in self.tensors if t.ndim in {2, 3} and t.shape[1] == 1]
        if not short:
            return None

        def lengthen(t: Tensor) -> Tensor:
            if not any(t is each for each in short):
                return t
            steps = torch.arange(length).reshape(1, length, *[1] * (t.ndim - 2))
            return t + steps.to(t.dtype) if t.is_floating_point() else (t + steps) % max(2, int(t.max()) + 1)

        return self.changed(lengthen)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Example:
        """Return the example with other tensors in the place of its own."""
        return Example(*pytree.tree_map_only(Tensor, change, (self.args, self.kwargs)))

    def through(self, model: nn.Module) -> Any:
        """Run the model once, on copies of the tensors: a forward may change its inputs in place."""
        own = self.fresh()
        return model(*own.args, **own.kwargs)

    def outputs(self, model: nn.Module) -> list[Tensor]:
        """Run the model without gradients and return its output tensors, flattened in a fixed order."""
        with torch.no_grad():
            return tensors_of(self.through(model))


def require_runs(model: nn.Module, example: Example) -> Any:
    """Run the example through the model once and return its output; raises InputError if that fails."""
    if not example.tensors:
        raise InputError("The example input holds no tensor; give the model's input, e.g. --input x.")
    shapes = ", ".join(str(tuple(t.shape)) for t in example.tensors)
    try:
        with torch.no_grad():
            output = example.through(model)
    except Exception as error:
        raise InputError(
            f"The model does not run on the example input of shape {shapes}: {first_line(error)}. "
            "Give an input that the model takes, e.g. --input x."
        ) from error
    outputs = require_dense_tensors(output)
    if not all(bool(torch.isfinite(each).all()) for each in outputs):
        raise InputError("The model's own output on the example holds NaN or infinite values; nothing can be compared.")
    if example.batch == 0:
        raise InputError(f"The example input of shape {shapes} has no rows; give at least one.")
    return output
