"""One node of the graph as its rule sees it: arguments by the names of the operator's schema, and output shapes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.fx import Node

from ..labels import Factor, Labels, Value, aligned, operator_name, values_in

Outcome = Value | list[Value]
Rule = Callable[["Site"], Outcome]
Rules = Mapping[Rule, str]  # with the names of the operators that it is for

PLACES = "needs all of these places"
ZEROS: Mapping[str, Callable[[tuple[bool, ...]], bool]] = {"any": any, "all": all, "never": lambda _: False}


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
    def operator(self) -> str:
        return operator_name(self.node)

    @property
    def x(self) -> Value:
        """The operator's first tensor."""
        return self.tensors[0]

    @property
    def tensors(self) -> list[Value]:
        return values_in(self.given)

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

    def pin(self, value: Value, what: str, axes: Collection[int] | None = None) -> Value:
        """Let labels pass but those on `axes`, by default all: say what the operator does that they have to stay."""
        return self.labels.pin_value(value, f"{self.name} {what}", axes)

    def note_size(self, axis: int, what: str) -> None:
        """Note what size the operator is given for an axis: as a number in the code, it would not follow a cut."""
        if (factor := self.x.on(axis)) is not None:
            self.labels.sizes.append((factor.labels.ravel(), f"{self.name} {what}"))

    def pair(self, *factors: Factor | None) -> None:
        """Join the labels of single axes that meet; where one of them has none, the others' stay."""
        present = [factor for factor in factors if factor is not None]
        for factor in present:
            if len(present) == len(factors):
                self.labels.join(present[0].labels.ravel(), factor.labels.ravel())
            else:
                self.labels.pin(factor.labels, f"its channels meet, in {self.name}, an axis that stays whole")

    def merge(self, parts: Sequence[Value], zero: Callable[[Factor, tuple[bool, ...]], bool]) -> Value:
        """Join tensors element by element, as broadcasting has them.

        `zero` says of a factor, and of the parts that are zero where it is masked out, if the outcome is zero there.
        """
        rank = len(self.shape)
        spread = [aligned(p, range(rank - len(p.shape), rank), rank) for p in parts]
        merged = self.labels.merge(spread, (), self.name)
        return Value(self.shape, tuple(replace(f, zero=zero(f, zeros)) for f, zeros in merged))

    def meet(self, parts: Sequence[Value], zero: str) -> Value:
        """Join tensors element by element; `zero`: of which parts zeros stay zeros (any, all, never)."""
        return self.merge(parts, lambda _, zeros: ZEROS[zero](zeros))

    def contract(self, parts: Sequence[Value], letters: Sequence[Sequence[Any]], output: Sequence[Any]) -> Value:
        """Multiply tensors and sum over the axes that are not in `output`; `letters` name the axes of each."""
        number = {letter: i for i, letter in enumerate(sorted({*output, *(each for own in letters for each in own)}))}
        outside, rank = [number[letter] for letter in output], len(number)
        spread = [aligned(p, [number[each] for each in own], rank) for p, own in zip(parts, letters, strict=True)]
        summed = set(range(rank)) - set(outside)
        for part, placed in zip(parts, spread, strict=True):
            if id(part) in self.labels.weights:
                self.labels.read += [f.labels.ravel() for f in placed.factors if set(f.axes) <= summed]
        factors = []
        for factor, _ in self.labels.merge(spread, summed, self.name):
            if not set(factor.axes) & summed:
                moved = factor.labels.transpose([*outside, *sorted(summed)])
                factors.append(replace(factor, labels=moved.reshape(moved.shape[: len(outside)])))
        return Value(tuple(max(part.shape[axis] for part in spread) for axis in outside), tuple(factors))


def repeated(value: Value, times: int, axis: int) -> Value:
    """Repeat each index of an axis so many times, one after another."""
    shape = [times * size if i == axis else size for i, size in enumerate(value.shape)]
    return value.moved(shape, lambda labels: np.repeat(labels, times, axis) if labels.shape[axis] > 1 else labels)
