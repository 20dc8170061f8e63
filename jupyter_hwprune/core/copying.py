"""Copies of models that hold what cannot be copied: locks, open files, tensors in the middle of a graph."""

import copy
import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def copied(model: nn.Module, memo: Mapping[int, Any] | None = None) -> nn.Module:
    """Return a deep copy. `memo` gives by id what stands in for a part, as that of `copy.deepcopy`.

    Of a tensor that torch computed the copy holds the values, and what cannot be copied is shared with `model`. Raises
    as `copy.deepcopy` does if the model, or a module in it, refuses to be copied.
    """
    return copied_and_shared(model, memo)[0]


def in_float32(model: nn.Module) -> nn.Module:
    """Return the model itself, or a copy in float32 if floating-point weights of it have another dtype."""
    narrow = any(p.is_floating_point() and p.dtype != torch.float32 for p in model.parameters())
    return copied(model).float() if narrow else model


def copied_and_shared(model: nn.Module, memo: Mapping[int, Any] | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the copy of `copied`, and what it shares with `model`: each attribute's name and its type."""
    given = dict(memo or {})
    try:
        return copy.deepcopy(model, dict(given)), ()
    except Exception:  # noqa: BLE001 - objects refuse in many ways; what is wrong is looked for below
        search = _Search(model, given)
    return copy.deepcopy(model, given | search.stand_ins), tuple(search.shared)


class _Search:
    """Finds the innermost parts that cannot be copied; tensors that can are not copied meanwhile."""

    def __init__(self, model: nn.Module, memo: Mapping[int, Any]) -> None:
        tensors = (*model.parameters(), *model.buffers())
        self._memo = {id(tensor): tensor for tensor in tensors} | dict(memo)
        self._seen: set[int] = set()
        self.stand_ins: dict[int, Any] = {}
        self.shared: list[str] = []
        self._visit(model, "")

    def _visit(self, value: Any, path: str) -> bool:
        """Say whether the value can be copied now; a module never is shared, nor is what holds one that refuses."""
        if id(value) in self._seen or self._can_be_copied(value):
            return True
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self.stand_ins[id(value)] = value.detach().clone()
            return True
        parts = [self._visit(part, f"{path}.{name}" if name else path) for name, part in _parts(value)]
        if self._can_be_copied(value):
            return True
        if isinstance(value, nn.Module) or not all(parts):
            return False
        self.stand_ins[id(value)] = value
        self.shared.append(f"{path.strip('.')} ({type(value).__name__})")
        return True

    def _can_be_copied(self, value: Any) -> bool:
        try:
            copy.deepcopy(value, self._memo | self.stand_ins)
        except Exception:  # noqa: BLE001 - as above
            return False
        return True


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds; a module's own tables add nothing to the names."""
    if isinstance(value, dict):
        yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((str(place), part) for place, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from (("", part) for part in (value.func, *value.args, *value.keywords.values()))
    elif isinstance(value, types.MethodType):
        yield "", value.__self__
    elif not isinstance(value, (type, types.ModuleType, types.FunctionType)):
        inner = isinstance(value, nn.Module)
        own = dict(getattr(value, "__dict__", {}))
        yield from (("" if inner and name in {"_modules", "_buffers"} else name, part) for name, part in own.items())
