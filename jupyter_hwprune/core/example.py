"""The example input to trace, export, check and time a model with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .errors import InputError, first_line


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
        own = self.batch
        if batch == own:
            return self

        def resize(t: Tensor) -> Tensor:
            fits = t.ndim > 0 and t.shape[0] == own
            return t.index_select(0, torch.arange(batch, device=t.device) % own) if fits else t

        return self._with_tensors(resize)

    def on_cpu(self) -> Example:
        return self._with_tensors(lambda t: t.detach().cpu())

    def as_float32(self) -> Example:
        return self.in_dtype(torch.float32)

    def in_dtype(self, dtype: torch.dtype) -> Example:
        """Return the example with its floating-point tensors in that dtype."""
        return self._with_tensors(lambda t: t.to(dtype) if t.is_floating_point() else t)

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

        return self._with_tensors(lengthen)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Example:
        return Example(*pytree.tree_map_only(Tensor, change, (self.args, self.kwargs)))

    def through(self, model: nn.Module) -> Any:
        return model(*self.args, **self.kwargs)

    def outputs(self, model: nn.Module) -> list[Tensor]:
        """Run the model without gradients and return its output tensors, flattened in a fixed order."""
        with torch.no_grad():
            return tensors_of(self.through(model))


def tensors_of(output: Any) -> list[Tensor]:
    """Flatten a model's output; dict-like outputs of model libraries become plain dicts, which pytree handles."""
    leaves = pytree.tree_leaves(dict(output) if isinstance(output, Mapping) else output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def require_runs(model: nn.Module, example: Example) -> list[Tensor]:
    """Run the example through the model once; raises InputError if that fails."""
    if not example.tensors:
        raise InputError("The example input holds no tensor; give the model's input, e.g. --input x.")
    shapes = ", ".join(str(tuple(t.shape)) for t in example.tensors)
    try:
        outputs = example.outputs(model)
    except Exception as error:
        raise InputError(
            f"The model does not run on the example input of shape {shapes}: {first_line(error)}. "
            "Give an input that the model takes, e.g. --input x."
        ) from error
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise InputError("The model's own output on the example holds NaN or infinite values; nothing can be compared.")
    if example.batch == 0:
        raise InputError(f"The example input of shape {shapes} has no rows; give at least one.")
    if not outputs:
        raise InputError("The model returns no tensor, so there is nothing to check a compiled model against.")
    return outputs
