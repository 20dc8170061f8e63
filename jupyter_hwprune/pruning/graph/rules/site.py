"""One node of the graph as its rule sees it: arguments by the names of the operator's schema, and output shapes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.fx import Node

from ..labels import Labels, Value, aligned

Outcome = Value | list[Value]


@dataclass(frozen=True)
class Site:
    node: Node
    labels: Labels
    name: str
    given: dict[str, Any]  # tensors as Values

    def __getitem__(self, argument: str) -> Any:
        return self.given[argument]

    def get(self, argument: str, default: Any = None) -> Any:
        return self.given.get(argument, default)

    @property
    def x(self) -> Value:
        """The operator's first tensor."""
        return self.tensors[0]

    @property
    def tensors(self) -> list[Value]:
        return list(_tensors(self.given.values()))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        found = self.node.meta.get("val")
        listed = found if isinstance(found, (list, tuple)) else [found]
        return [tuple(t.shape) for t in listed if isinstance(t, Tensor)]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[0]

    def axis(self, argument: str = "dim", value: Value | None = None, default: int = 0) -> int:
        dim = self.given.get(argument)
        return (default if dim is None else int(dim)) % max(1, len((value or self.x).shape))

    def axes(self, argument: str = "dim") -> list[int]:
        """Return the axes named by an argument, all of them where it names none."""
        rank = len(self.x.shape)
        dim = self.given.get(argument)
        listed = [dim] if isinstance(dim, int) else dim
        return [int(d) % rank for d in listed] if listed else list(range(rank))

    def meet(self, parts: Sequence[Value], zero: str) -> Value:
        """Join tensors element by element, as broadcasting has them; `zero`: of which parts zeros stay (any, all)."""
        shape = self.shape
        spread = [aligned(p, range(len(shape) - len(p.shape), len(shape)), len(shape)) for p in parts]
        rules: dict[str, Callable[[tuple[bool, ...]], bool]] = {"any": any, "all": all, "never": lambda _: False}
        rule = rules[zero]
        merged = self.labels.merge(spread, (), self.name)
        return Value(shape, tuple(replace(f, zero=rule(zeros)) for f, zeros in merged))

    def contract(self, parts: Sequence[Value], letters: Sequence[Sequence[int]], output: Sequence[int]) -> Value:
        """Multiply tensors and sum over the axes that are not in `output`; `letters` name the axes of each."""
        rank = 1 + max((axis for own in letters for axis in own), default=0)
        spread = [aligned(p, own, rank) for p, own in zip(parts, letters, strict=True)]
        summed = set(range(rank)) - set(output)
        for part, placed in zip(parts, spread, strict=True):
            if id(part) in self.labels.weights:
                self.labels.read += [f.labels.ravel() for f in placed.factors if set(f.axes) <= summed]
        factors = []
        for factor, _ in self.labels.merge(spread, summed, self.name):
            if not set(factor.axes) & summed:
                moved = factor.labels.transpose([*output, *sorted(summed)])
                factors.append(replace(factor, labels=moved.reshape(moved.shape[: len(output)])))
        sizes = [max(part.shape[axis] for part in spread) for axis in output]
        return Value(tuple(sizes), tuple(factors))

    def passed(self, value: Value, axes: Collection[int], *, zero: bool, what: str) -> Value:
        """Let labels pass but those on `axes`, which `what` cannot do without."""
        kept = self.labels.pin_value(value, f"{self.name} {what}", axes)
        return kept.zeroed(zero)


def _tensors(values: Iterable[Any]) -> Iterable[Value]:
    for value in values:
        if isinstance(value, Value):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
