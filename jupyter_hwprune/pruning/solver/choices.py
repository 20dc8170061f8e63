"""What is decided for one group of columns, given its free values: those it would take were all of it kept.

In each row, a group has free values t [m] and a curvature A [m, m]: values q instead cost (t - q) A (t - q)^T.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Protocol

import torch
from torch import Tensor

from ...pattern import NM, Block, Unstructured
from ..masks import keep_n_of_m, keep_top
from .budget import Budget

MOST_SUBSETS = 128
SAMPLE = 64  # rows from which a price is taken


class Choices(Protocol):
    size: int  # columns in a group
    largest_first: bool  # whether to decide the groups with the most energy in their inputs first, or last
    again: bool  # whether deciding a group anew lowers the error

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor) -> None:
        """Get ready for a sweep: curvature [G, m, m] of the groups, base and pull [D, K] as the sweep starts."""

    def choose(self, group: int, free: Tensor) -> Tensor:
        """Return the pruned values of a group, from its free ones. [m, K] -> [m, K]."""

    def keep(self, pruned: Tensor) -> Tensor:
        """Return the mask of the last sweep, which made `pruned` [D, K], with the exact count. -> bool [D, K]."""


def choices_for(pattern: NM | Block | Unstructured, sparsity: float, outputs: int, width: int) -> Choices:
    if isinstance(pattern, NM):
        return (Subsets if comb(pattern.m, pattern.n) <= MOST_SUBSETS else Ranked)(pattern.n, pattern.m)
    rows, columns = (pattern.rows, pattern.columns) if isinstance(pattern, Block) else (1, 1)
    return Blocks(rows, columns, max(1, round((1 - sparsity) * (outputs * width // (rows * columns)))))


class Subsets:
    """Compare all ways to keep n of the group's m weights, each with the values that are best then."""

    largest_first, again = True, True

    def __init__(self, n: int, m: int) -> None:
        self.size = m
        self.subsets = torch.tensor([[i in kept for i in range(m)] for kept in combinations(range(m), n)])  # [S, m]

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor) -> None:
        count, size = self.subsets.shape
        identity, kept = torch.eye(size), torch.diag_embed(self.subsets.float())  # [S, m, m]
        every = curvature[:, None]  # [G, 1, m, m]
        solvable = kept @ every @ kept + identity - kept
        values = torch.cholesky_solve(kept @ every, torch.linalg.cholesky(solvable))  # best values = values @ free
        removed = identity - values
        self.costs = (removed.mT @ every @ removed).reshape(-1, count, size * size)  # [G, S, m * m]
        self.values = values.reshape(-1, count * size, size)
        self.kept = torch.empty(base.shape, dtype=torch.bool)

    def choose(self, group: int, free: Tensor) -> Tensor:
        size, rows = free.shape
        pairs = (free[:, None] * free).reshape(size * size, rows)
        best = (self.costs[group] @ pairs).min(0).indices  # [K]; argmin is many times slower along this axis
        self.kept[group * size : (group + 1) * size] = self.subsets.t()[:, best]
        candidates = (self.values[group] @ free).reshape(-1, size, rows)  # [S, m, K]
        return candidates.gather(0, best.expand(1, size, rows))[0]

    def keep(self, pruned: Tensor) -> Tensor:
        return self.kept


class Ranked:
    """Keep the n of m whose removal alone would cost most: for groups with too many subsets to compare."""

    largest_first, again = True, False

    def __init__(self, n: int, m: int) -> None:
        self.n, self.size = n, m

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor) -> None:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(curvature))
        self.weights = inverse.diagonal(dim1=1, dim2=2).reciprocal()[..., None]  # [G, m, 1]
        self.kept = torch.empty(base.shape, dtype=torch.bool)

    def choose(self, group: int, free: Tensor) -> Tensor:
        scores = free.square() * self.weights[group]
        kept = keep_n_of_m(scores.t().contiguous(), self.n, self.size).t()
        self.kept[group * self.size : (group + 1) * self.size] = kept
        return torch.where(kept, free, 0.0)

    def keep(self, pruned: Tensor) -> Tensor:
        return self.kept


class Blocks:
    """Keep each block of rows by columns whose removal would cost more than the layer's price; a weight is 1 by 1."""

    largest_first, again = False, True

    def __init__(self, rows: int, columns: int, count: int) -> None:
        self.rows, self.size, self.count = rows, columns, count

    def prepare(self, curvature: Tensor, base: Tensor, pull: Tensor) -> None:
        self.curvature = curvature
        step = max(1, base.shape[1] // self.rows // SAMPLE)
        own, pulled = (whole.unflatten(1, (-1, self.rows))[:, ::step].flatten(1) for whole in (base, pull))
        free = own + pulled / curvature.diagonal(dim1=1, dim2=2).reshape(-1, 1)
        expected = self._costs(curvature, free.unflatten(0, (-1, self.size)))  # [G, sample]
        self.kept = torch.empty(len(curvature), base.shape[1] // self.rows, dtype=torch.bool)  # [G, K/rows]
        self.budget = Budget(expected, self.count, self.kept.numel())

    def choose(self, group: int, free: Tensor) -> Tensor:
        kept = self.budget.spend(group, self._costs(self.curvature[group], free))
        self.kept[group] = kept
        return torch.where(kept if self.rows == 1 else kept.repeat_interleave(self.rows), free, 0.0)

    def _costs(self, curvature: Tensor, free: Tensor) -> Tensor:
        """Return what it costs to remove each block of rows of a group. [.., m, m], [.., m, K] -> [.., K/rows]."""
        if self.size == self.rows == 1:
            return (free.square() * curvature).squeeze(-2)
        return ((curvature @ free) * free).sum(-2).unflatten(-1, (-1, self.rows)).sum(-1)

    def keep(self, pruned: Tensor) -> Tensor:
        kept = self.kept
        if self.budget.left:  # off by a few of the last group
            removable = self._costs(self.curvature, pruned.unflatten(0, (-1, self.size)))
            kept = keep_top(removable, self.count)
        if self.size == self.rows == 1:
            return kept
        return kept.repeat_interleave(self.size, 0).repeat_interleave(self.rows, 1)
