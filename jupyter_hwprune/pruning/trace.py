"""Trace the order in which a model runs its layers, and which modules call them."""

import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.example import Example
from .statistics import same_rows


@dataclass
class Trace:
    """`groups` are the layers in order of execution, neighbours that read the same tensor together.

    `calls` counts the calls of every module in one batch, `callers` are the modules that called it, and `children`
    those that it called, in order; the model itself is "".
    """

    groups: list[list[str]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    callers: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    children: dict[str, list[str]] = field(default_factory=dict)

    def within(self, name: str, outer: str) -> bool:
        """Say whether the module is only ever called on behalf of `outer`."""
        waiting, known = list(self.callers.get(name, ())), {name}
        if not waiting:
            return False
        while waiting:  # a module may call itself, straight or through others
            each = waiting.pop()
            if each == outer or each in known:
                continue
            known.add(each)
            if not (callers := self.callers.get(each)):
                return False
            waiting += callers
        return True

    def single_children(self, outer: str) -> list[str]:
        """Return the modules that `outer` calls, without those that are called more than once in all."""
        return [name for name in self.children.get(outer, []) if self.calls[name] == 1]


def trace(model: nn.Module, layers: Mapping[str, nn.Module], batches: Sequence[Example]) -> Trace:
    """Run batches through the model until every layer was reached, or all batches were run."""
    found = Trace()
    for batch in batches:
        own = _trace_batch(model, layers, batch)
        found.calls |= own.calls
        for name, callers in own.callers.items():
            found.callers[name] |= callers
        for name, children in own.children.items():
            found.children.setdefault(name, children)
        found.groups = _merged(found.groups, own.groups)
        if all(name in found.calls for name in layers):
            break
    return found


def _trace_batch(model: nn.Module, layers: Mapping[str, nn.Module], batch: Example) -> Trace:
    found = Trace()
    stack: list[str] = []
    last: tuple[weakref.ref[Tensor], int] | None = None  # the input of the last layer, and how often it was written to

    def enter(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal last
        found.calls[name] += 1
        if stack:
            found.callers[name].add(stack[-1])
            children = found.children.setdefault(stack[-1], [])
            if name not in children:
                children.append(name)
        stack.append(name)
        if name not in layers:
            return
        x = input_of(args, kwargs)
        shared = last is not None and last[0]() is x and last[1] == x._version  # noqa: SLF001
        if found.calls[name] > 1:  # it stays where it was first called, and shares its input with nobody
            last = None
            at = next(i for i, group in enumerate(found.groups) if name in group)
            if len(found.groups[at]) > 1:
                found.groups[at].remove(name)
                found.groups.insert(at + 1, [name])
            return
        if shared and found.groups and same_rows(layers[found.groups[-1][0]], module):
            found.groups[-1].append(name)
        else:
            found.groups.append([name])
        last = (weakref.ref(x), x._version)  # noqa: SLF001

    def leave(*_: Any) -> None:
        stack.pop()

    with hooks() as handles:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(partial(enter, name), with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        batch.through(model)
    return found


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the input of a call of a Linear or a convolution."""
    x: Tensor = args[0] if args else kwargs["input"]
    return x


@contextmanager
def hooks() -> Iterator[list[RemovableHandle]]:
    """Remove the handles put into the list, whatever happens."""
    handles: list[RemovableHandle] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def _merged(before: list[list[str]], new: list[list[str]]) -> list[list[str]]:
    """Put the layers that only the new batch reached behind those that they ran after."""
    known = {name for group in before for name in group}
    merged = [list(group) for group in before]
    at = 0
    for group in new:
        fresh = [name for name in group if name not in known]
        if len(fresh) < len(group):
            at = 1 + next(i for i, each in enumerate(merged) if any(name in each for name in group))
        if fresh:
            merged.insert(at, fresh)
            at += 1
    return merged
