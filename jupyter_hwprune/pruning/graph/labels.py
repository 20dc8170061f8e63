"""Labels on the indices of tensors' axes: equal labels stay or go together, and pinned ones stay.

A tensor's labels are factors: integer arrays of the tensor's rank, of size 1 on the axes that they say nothing about.
An element is there while all its labels are. So views, permutations and slices act on the arrays themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.utils import _pytree as pytree

Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Factor:
    labels: Array
    zero: bool  # where a label is masked out, the tensor of the masked dense model holds zeros
    view: str = ""  # the view that spread one axis over several, which of them shrinks being open

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, size in enumerate(self.labels.shape) if size > 1)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph: its shape and its labels. No two factors stand on the same axis."""

    shape: tuple[int, ...]
    factors: tuple[Factor, ...] = ()

    def on(self, axis: int) -> Factor | None:
        return next((f for f in self.factors if f.labels.shape[axis] > 1), None)

    def moved(self, shape: Sequence[int], move: Callable[[Array], Array]) -> Value:
        """Return the value of that shape in which every factor's labels stand where `move` puts them."""
        return Value(tuple(shape), tuple(replace(f, labels=move(f.labels)) for f in self.factors))

    def zeroed(self, zero: bool) -> Value:
        """Say for all factors that what is masked out is zero, or is not."""
        return replace(self, factors=tuple(replace(f, zero=f.zero and zero) for f in self.factors))


class Labels:
    """All labels of one graph, joined in bulk."""

    def __init__(self, flipped: Collection[str] = ()) -> None:
        self._root: Array = np.arange(1 << 16)
        self._count = 0
        self._edges: list[tuple[Array, Array]] = []
        self.flipped = flipped  # views whose open choice falls the other way
        self.decided: set[str] = set()  # views whose choice was open
        self.pins: list[tuple[Array, str]] = []
        self.spread: list[Factor] = []  # whose axes must be cut by one axis only
        self.weights: set[int] = set()  # ids of the values that no input has a part in
        self.read: list[Array] = []  # labels of weights along the axes that are summed over
        self.over_kept: dict[str, Value] = {}  # inputs of the nodes that count the channels that are there
        self.sizes: list[tuple[Array, str]] = []  # that operators are given as numbers, maybe of the code's own
        self.shares: list[Array] = []  # [groups, n]: each row keeps the same count

    def fresh(self, count: int) -> Array:
        start, self._count = self._count, self._count + count
        if self._count > len(self._root):
            grown = np.arange(max(2 * len(self._root), self._count))
            grown[: len(self._root)] = self._root
            self._root = grown
        return np.arange(start, self._count)

    def of_shape(self, shape: Sequence[int], *, zero: bool) -> Value:
        """Give each index of each axis a label of its own."""
        factors = []
        for axis, size in enumerate(shape):
            if size > 1:
                factors.append(Factor(on_axis(self.fresh(size), axis, len(shape)), zero))
        return Value(tuple(shape), tuple(factors))

    def join(self, a: Array, b: Array) -> None:
        a, b = np.broadcast_arrays(a, b)
        if a is not b:
            self._edges.append((a.ravel(), b.ravel()))

    def pin(self, labels: Array, reason: str) -> None:
        self.pins.append((labels.ravel(), reason))

    def pin_value(self, value: Value, reason: str, axes: Collection[int] | None = None) -> Value:
        """Pin the labels on those axes, by default on all; return the value without them."""
        kept = list(value.factors)
        for axis in range(len(value.shape)) if axes is None else axes:
            for factor in [f for f in kept if f.labels.shape[axis] > 1]:
                kept.remove(factor)
                kept += filter(None, [self.drop(factor, axis, reason)])
        return Value(value.shape, tuple(kept))

    def drop(self, factor: Factor, axis: int, reason: str) -> Factor | None:
        """Have nothing cut along this axis: where the factor has others, its labels are joined along it."""
        if len(factor.axes) == 1:
            self.pin(factor.labels, reason)
            return None
        first = np.take(factor.labels, [0], axis)
        self.join(factor.labels, first)
        return replace(factor, labels=first)

    def pinned(self, roots: Array) -> NDArray[np.bool_]:
        """Say for each joined label whether it stays."""
        return np.isin(roots, self.roots(concatenated([labels for labels, _ in self.pins])))

    def roots(self, labels: Array) -> Array:
        """Return for each label the one that stands for all that are joined to it."""
        if self._edges:
            a, b = (self._root[np.concatenate(ends)] for ends in zip(*self._edges, strict=True))
            self._edges.clear()
            differs = a != b
            nodes, places = np.unique(np.concatenate([a[differs], b[differs]]), return_inverse=True)
            if len(nodes):
                ends = places.reshape(2, -1)
                graph = coo_array((np.ones(ends.shape[1], np.int8), (ends[0], ends[1])), shape=(len(nodes),) * 2)
                count, component = connected_components(graph, directed=False)
                first = np.full(count, np.iinfo(np.int64).max)
                np.minimum.at(first, component, nodes)
                moved = np.arange(len(self._root))
                moved[nodes] = first[component]
                self._root = moved[self._root]
        found: Array = self._root[labels]
        return found

    def simplified(self, factor: Factor) -> Factor:
        """Leave out the axes along which all labels are joined already."""
        if len(factor.axes) < 2:
            return factor
        return replace(factor, labels=without_repeats(self.roots(factor.labels)))

    def decide(self, factor: Factor, axes: Collection[int], others: Collection[int], reason: str) -> Factor | None:
        """Choose which axis shrinks: by default not `axes`, and where the view is flipped not the `others`."""
        self.decided.add(factor.view)
        for axis in others if factor.view in self.flipped else axes:
            left = self.drop(factor, axis, reason)
            if left is None:
                return None
            factor = left
        return factor

    def choose_axis(self, factor: Factor, axes: Collection[int], reason: str) -> Factor | None:
        """Choose which axis shrinks where a factor stands on some of `axes` and on others: by default the others."""
        factor = self.simplified(factor)
        inside = [axis for axis in factor.axes if axis in axes]
        outside = [axis for axis in factor.axes if axis not in axes]
        return self.decide(factor, inside, outside, reason) if inside and outside else factor

    def merge(
        self, parts: Sequence[Value], summed: Collection[int], reason: str
    ) -> Iterator[tuple[Factor, tuple[bool, ...]]]:
        """Join the labels of tensors that meet element by element in one space of axes, some of them summed over.

        Every part has the space's rank, with size 1 on the axes that it lacks. Yields each factor of the space with,
        for each part, whether it is zero there where that factor is masked out.
        """
        work = [(i, self.simplified(f)) for i, part in enumerate(parts) for f in part.factors]
        while (step := self._misfit(parts, work, summed, reason)) is not None:
            place, left = step
            work[place : place + 1] = [] if left is None else [(work[place][0], self.simplified(left))]
        by_axes: defaultdict[tuple[int, ...], list[tuple[int, Factor]]] = defaultdict(list)
        for i, factor in work:
            by_axes[factor.axes].append((i, factor))
        for axes, found in by_axes.items():
            for _, factor in found[1:]:
                self.join(found[0][1].labels, factor.labels)
            zeros = tuple(any(i == part and f.zero for i, f in found) for part in range(len(parts)))
            if set(axes) & set(summed) and not any(zeros):
                self.pin(found[0][1].labels, f"{reason} adds its channels up, and one that is gone would not be zero")
                continue
            yield replace(found[0][1], zero=any(zeros)), zeros

    def _misfit(
        self, parts: Sequence[Value], work: list[tuple[int, Factor]], summed: Collection[int], reason: str
    ) -> tuple[int, Factor | None] | None:
        """Return the place of the first factor that does not fit the others, and what becomes of it."""
        covered = [{axis for i, f in work if i == part for axis in f.axes} for part in range(len(parts))]
        for place, (_, factor) in enumerate(work):
            for axis in factor.axes:
                if any(part.shape[axis] > 1 and axis not in on for part, on in zip(parts, covered, strict=True)):
                    return place, self.drop(factor, axis, f"its channels meet, in {reason}, an axis that stays whole")
            inside = [axis for axis in factor.axes if axis in summed]
            outside = [axis for axis in factor.axes if axis not in summed]
            if inside and outside:
                return place, self.decide(factor, inside, outside, reason)
        for place, (_, factor) in enumerate(work):
            own = set(factor.axes)
            for _, other in work:
                theirs = set(other.axes)
                if own & theirs and own != theirs and len(own) >= len(theirs):
                    return place, self._without_width(factor, own - theirs, own & theirs, reason)
        return None

    def _without_width(self, factor: Factor, apart: set[int], shared: set[int], reason: str) -> Factor | None:
        """Give up, of a head and its width, the width: the axis along which the labels run fastest."""
        inner = min(factor.axes, key=lambda axis: _step(factor.labels, axis))
        if inner in shared and factor.view not in self.decided:
            return self.decide(factor, [inner], sorted(apart), reason)
        return self.decide(factor, sorted(apart), sorted(shared), reason)


def _step(labels: Array, axis: int) -> float:
    """Return how far apart neighbouring labels are along an axis, repeats aside."""
    along = np.unique(np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)[:, 0])
    return float(along[-1] - along[0]) / max(1, len(along) - 1)


def without_repeats(labels: Array) -> Array:
    """Leave out the axes along which all labels are the same, but for the last one that says anything."""
    for axis in [axis for axis, size in enumerate(labels.shape) if size > 1]:
        first = np.take(labels, [0], axis)
        if bool((labels == first).all()) and first.size > 1:
            labels = first
    return labels


def on_axis(labels: Array, axis: int, rank: int) -> Array:
    """Lay the labels along one of `rank` axes."""
    return labels.reshape((1,) * axis + (-1,) + (1,) * (rank - axis - 1))


def concatenated(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def aligned(value: Value, axes: Sequence[int], rank: int) -> Value:
    """Place a tensor in a space of `rank` axes: its own axis i becomes axes[i]."""
    order = np.argsort(axes)

    def placed(sizes: Sequence[int]) -> list[int]:
        own = dict(zip(axes, sizes, strict=True))
        return [own.get(axis, 1) for axis in range(rank)]

    return value.moved(placed(value.shape), lambda labels: labels.transpose(order).reshape(placed(labels.shape)))


def values_in(found: Any) -> list[Value]:
    return [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Value)]


def operator_name(node: Any) -> str:
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]


def node_name(node: Any) -> str:
    """Say where in the model a node of the graph stands: its module and its operator."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    module = str(stack[-1][0]) if stack else ""
    return f"{operator_name(node)} in {module}" if module else operator_name(node)
