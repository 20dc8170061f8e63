"""What is decided for one group of columns, given its free values: those it would take were all of it kept.

In each row, a group has free values t [m] and a curvature A [m, m]: values q instead cost (t - q) A (t - q)^T.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import combinations
from math import comb, sqrt

import torch
from torch import Tensor

from ...core.pattern import NM, Block, Unstructured
from ..masks import keep_n_of_m, keep_top

MOST_SUBSETS = 128
SAMPLE = 32  # rows from which a layer's price is taken
REPRICED = 6  # the price is set anew after each such share of the groups to come


def choices_for(pattern: NM | Block | Unstructured, sparsity: float, outputs: int, width: int) -> Choices:
    if isinstance(pattern, NM):
        return (Subsets if comb(pattern.m, pattern.n) <= MOST_SUBSETS else Ranked)(pattern.n, pattern.m)
    if isinstance(pattern, Block):
        blocks = outputs * width // (pattern.rows * pattern.columns)
        return BlockChoices(pattern.rows, pattern.columns, max(1, round((1 - sparsity) * blocks)))
    return Weights(max(1, round((1 - sparsity) * outputs * width)))


class Choices(ABC):
    size: int  # columns in a group
    largest_first = False  # whether the groups with the most energy in their inputs are decided first, or last
    by_row = False  # whether each row has a count of its own
    again = True  # whether deciding a group anew, with all others held, lowers the error
    kept: Tensor  # bool, what `choose` kept

    @abstractmethod
    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor, pruned: Tensor) -> None:
        """Get ready for a sweep: curvature [G, m, m] of the groups; base, pull, pruned [D, K] as the sweep starts."""

    @abstractmethod
    def choose(self, group: int, free: Tensor, chosen: Tensor) -> None:
        """Write a group's pruned values [m, K] into `chosen`, its part of `pruned`, from its free ones [m, K]."""

    @abstractmethod
    def largest(self, values: Tensor) -> Tensor:
        """Return the mask [D, K] that holds most of the squares of values [D, K], which have unit curvature."""

    def keep(self, pruned: Tensor) -> tuple[Tensor, bool]:  # noqa: ARG002
        """Return the mask [D, K] of the sweep that made `pruned`, and whether it differs, to have the exact count."""
        return self.kept, False


class Subsets(Choices):
    """Compare all ways to keep n of the group's m weights, each with the values that are best then."""

    largest_first = by_row = True

    def __init__(self, n: int, m: int) -> None:
        self.n, self.size = n, m
        self.subsets = torch.tensor([[i in kept for kept in combinations(range(m), n)] for i in range(m)])  # [m, S]

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor, pruned: Tensor) -> None:  # noqa: ARG002
        size, count = self.subsets.shape
        identity, kept = torch.eye(size), torch.diag_embed(self.subsets.t().float())  # [S, m, m]
        every = curvature[:, None]  # [G, 1, m, m]
        solvable = kept @ every @ kept + identity - kept
        values = torch.cholesky_solve(kept @ every, torch.linalg.cholesky(solvable))  # best values = values @ free
        removed = identity - values
        self.costs = (removed.mT @ every @ removed).reshape(-1, count, size * size)  # [G, S, m * m]
        self.values = values.reshape(-1, count * size, size)
        self.kept = torch.empty(base.shape, dtype=torch.bool)

    def choose(self, group: int, free: Tensor, chosen: Tensor) -> None:
        size, rows = free.shape
        pairs = (free[:, None] * free).view(size * size, rows)
        best = (self.costs[group] @ pairs).min(0).indices  # [K]; argmin is many times slower along this axis
        torch.index_select(self.subsets, 1, best, out=self.kept[group * size : (group + 1) * size])
        candidates = (self.values[group] @ free).view(-1, size, rows)  # [S, m, K]
        torch.gather(candidates, 0, best.expand(1, size, rows), out=chosen[None])

    def largest(self, values: Tensor) -> Tensor:
        return largest_of_groups(values, self.n, self.size)


class Ranked(Choices):
    """Keep the n of m whose removal alone would cost most: for groups with too many subsets to compare."""

    largest_first = by_row = True
    again = False

    def __init__(self, n: int, m: int) -> None:
        self.n, self.size = n, m

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor, pruned: Tensor) -> None:  # noqa: ARG002
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(curvature))
        self.weights = inverse.diagonal(dim1=1, dim2=2).reciprocal()[..., None]  # [G, m, 1]
        self.kept = torch.empty(base.shape, dtype=torch.bool)

    def choose(self, group: int, free: Tensor, chosen: Tensor) -> None:
        scores = free.square() * self.weights[group]
        kept = keep_n_of_m(scores.t().contiguous(), self.n, self.size).t()
        self.kept[group * self.size : (group + 1) * self.size] = kept
        chosen.copy_(torch.where(kept, free, 0.0))

    def largest(self, values: Tensor) -> Tensor:
        return largest_of_groups(values, self.n, self.size)


class Weights(Choices):
    """Keep each weight whose removal would cost at least the layer's price."""

    size = 1

    def __init__(self, count: int) -> None:
        self.count = count

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor, pruned: Tensor) -> None:
        self.curvature = curvature.flatten()  # [D]
        self.scales: list[float] = self.curvature.sqrt().tolist()
        step = max(1, base.shape[1] // SAMPLE)
        free = base[:, ::step] + pull[:, ::step] / self.curvature[:, None]
        self.pruned = pruned
        self.budget = Budget(free.square() * self.curvature[:, None], self.count, base.numel())

    def choose(self, group: int, free: Tensor, chosen: Tensor) -> None:
        price = self.budget.price(group, self.pruned)
        if group:
            torch.hardshrink(free, sqrt(price) / self.scales[group], out=chosen)
        else:
            chosen.copy_(torch.where(keep_top(free.abs(), self.budget.left), free, 0.0))

    def largest(self, values: Tensor) -> Tensor:
        return keep_top(values.abs(), self.count)

    def keep(self, pruned: Tensor) -> tuple[Tensor, bool]:
        return to_count(pruned != 0, lambda: pruned.square() * self.curvature[:, None], self.count)


class BlockChoices(Choices):
    """Keep each block of rows by columns whose removal would cost at least the layer's price."""

    def __init__(self, rows: int, columns: int, count: int) -> None:
        self.rows, self.size, self.count = rows, columns, count

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor, pruned: Tensor) -> None:  # noqa: ARG002
        self.curvature = curvature
        diagonal = curvature.diagonal(dim1=1, dim2=2).reshape(-1, 1)  # [D, 1]
        free = (base + pull / diagonal).reshape(len(curvature), self.size, -1)  # [G, m, K]
        expected = self._costs(curvature, free)  # [G, K/rows]
        self.kept = torch.empty(expected.shape, dtype=torch.bool)
        self.budget = Budget(expected, self.count, expected.numel())

    def choose(self, group: int, free: Tensor, chosen: Tensor) -> None:
        costs = self._costs(self.curvature[group], free)
        price = self.budget.price(group, self.kept)
        self.kept[group] = costs >= price if group else keep_top(costs, self.budget.left)
        chosen.copy_(torch.where(self.kept[group].repeat_interleave(self.rows), free, 0.0))

    def _costs(self, curvature: Tensor, free: Tensor) -> Tensor:
        """Return what it costs to remove each block of rows of a group. [.., m, m], [.., m, K] -> [.., K/rows]."""
        costs = ((curvature @ free) * free).sum(-2)  # [.., K]
        return costs.reshape(*costs.shape[:-1], -1, self.rows).sum(-1)

    def largest(self, values: Tensor) -> Tensor:
        sums = values.square().reshape(-1, self.size, values.shape[1] // self.rows, self.rows).sum((1, 3))
        return self._spread(keep_top(sums, self.count))

    def keep(self, pruned: Tensor) -> tuple[Tensor, bool]:
        groups = pruned.reshape(-1, self.size, pruned.shape[1])
        kept, missed = to_count(self.kept, lambda: self._costs(self.curvature, groups), self.count)
        return self._spread(kept), missed

    def _spread(self, kept: Tensor) -> Tensor:
        return kept.repeat_interleave(self.size, 0).repeat_interleave(self.rows, 1)


class Budget:
    """Find the price, the same for all groups, at which a layer keeps `count` of its `total`.

    The groups come in falling order, `expected` [G, sample] of their scores. Those that come differ from them: each
    group takes up the error of the ones before it. So what is left is priced anew on the way, by what is still to come.
    """

    def __init__(self, expected: Tensor, count: int, total: int) -> None:
        self.expected, self.left, self.a_group = expected, count, total // len(expected)
        self.priced = self.due = len(expected)

    def price(self, group: int, kept: Tensor) -> float:
        """Return the least score worth keeping in this group; what is not 0 behind it in `kept` [D, K] was kept."""
        if group < self.due or group == 0:
            size = len(kept) // len(self.expected)  # rows of each group
            self.left -= int(kept[(group + 1) * size : self.priced * size].count_nonzero())
            self.priced, self.due = group + 1, group - group // REPRICED
            ahead = self.expected[: group + 1].flatten()
            worth = round(self.left / ((group + 1) * self.a_group) * ahead.numel())
            least = max(1, ahead.numel() - worth + 1)
            self.now = float(torch.kthvalue(ahead, least).values) if worth > 0 else torch.inf
        return self.now


def largest_of_groups(values: Tensor, n: int, m: int) -> Tensor:
    """Keep the n largest of each m along the first dimension; [D, K] -> bool [D, K]."""
    return keep_n_of_m(values.abs().t().contiguous(), n, m).t()


def to_count(kept: Tensor, costs: Callable[[], Tensor], count: int) -> tuple[Tensor, bool]:
    """Bring a mask that the price left a few off to its exact count, by what each weight, or block, costs to remove."""
    missed = int(kept.count_nonzero()) != count
    return (keep_top(costs(), count) if missed else kept), missed
