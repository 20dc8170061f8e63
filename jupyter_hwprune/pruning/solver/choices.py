"""What may be chosen for one group of columns, given the values it would take were all of it kept.

Such a group has free values t [m] in each row and a curvature A [m, m]: values q cost (t - q) A (t - q)^T. Patterns that
share out a layer's weights have a price for each one kept, at which the right number of them is worth keeping.
"""

from __future__ import annotations

from itertools import combinations, product
from math import comb, gcd
from typing import Protocol

import torch
from torch import Tensor

from ...pattern import NM, Block, Unstructured
from ..masks import keep_n_of_m, keep_top

MOST_SUBSETS = 128
TOGETHER = 4  # columns of an unstructured layer that are decided together


class Choices(Protocol):
    size: int  # columns in a group
    again: bool  # whether deciding a group again lowers the error

    def prepare(self, curvature: Tensor, dense: Tensor) -> None:
        """Get ready for a sweep over groups with these curvatures [G, m, m]; `dense` is the layer's [D, K]."""

    def choose(self, group: int, free: Tensor) -> Tensor:
        """Return the pruned values of a group, from its free ones. [m, K] -> [m, K]."""

    def keep(self) -> Tensor:
        """Return the mask of the last sweep with the exact count. -> bool [D, K]."""


def choices_for(pattern: NM | Block | Unstructured, sparsity: float, outputs: int, width: int) -> Choices:
    if isinstance(pattern, Block):
        blocks = outputs * width // (pattern.rows * pattern.columns)
        return Blocks(pattern.rows, pattern.columns, max(1, round((1 - sparsity) * blocks)))
    if isinstance(pattern, Unstructured):
        size = gcd(width, TOGETHER)
        return Priced(
            torch.tensor(list(product((0.0, 1.0), repeat=size))), max(1, round((1 - sparsity) * outputs * width))
        )
    if comb(pattern.m, pattern.n) > MOST_SUBSETS:
        return Ranked(pattern.n, pattern.m)
    return Subsets(
        torch.tensor(
            [[float(i in kept) for i in range(pattern.m)] for kept in combinations(range(pattern.m), pattern.n)]
        )
    )


class Subsets:
    """Compare all ways to keep a part of the group, with the values that are best then."""

    again = True

    def __init__(self, subsets: Tensor) -> None:
        self.subsets = subsets  # [S, m], 1.0 = kept
        self.size = subsets.shape[1]

    def prepare(self, curvature: Tensor, dense: Tensor) -> None:
        count, size = self.subsets.shape
        kept = torch.diag_embed(self.subsets)  # [S, m, m]
        every = curvature[:, None]  # [G, 1, m, m]
        solvable = kept @ every @ kept + torch.eye(size) - kept
        self.values = torch.cholesky_solve(kept @ every, torch.linalg.cholesky(solvable))  # best values = values @ free
        removed = torch.eye(size) - self.values
        self.costs = (removed.mT @ every @ removed).reshape(-1, count, size * size)  # [G, S, m * m]
        self.values = self.values.reshape(-1, count * size, size)
        self.chosen = torch.empty(len(curvature), dense.shape[1], dtype=torch.long)  # [G, K]

    def choose(self, group: int, free: Tensor) -> Tensor:
        size, rows = free.shape
        pairs = (free[:, None] * free).reshape(size * size, rows)
        best = self._costs(group, pairs).argmin(0)
        self.chosen[group] = best
        candidates = (self.values[group] @ free).reshape(-1, size, rows)  # [S, m, K]
        return candidates.gather(0, best.expand(1, size, rows))[0]

    def _costs(self, group: int, pairs: Tensor) -> Tensor:
        return self.costs[group] @ pairs  # [S, K]

    def keep(self) -> Tensor:
        kept = self.subsets.bool()[self.chosen]  # [G, K, m]
        return kept.mT.reshape(-1, kept.shape[1])


class Priced(Subsets):
    """All subsets, each at the price of the weights it keeps."""

    def __init__(self, subsets: Tensor, count: int) -> None:
        super().__init__(subsets)
        self.count = count
        self.scores: Tensor | None = None

    def prepare(self, curvature: Tensor, dense: Tensor) -> None:
        super().prepare(curvature, dense)
        self.diagonal = curvature.diagonal(dim1=1, dim2=2)[..., None]  # [G, m, 1]
        if self.scores is None:
            self.scores = dense.square() * self.diagonal.reshape(-1, 1)
        self.prices = price(self.scores, self.count) * self.subsets.sum(1, keepdim=True)  # [S, 1]

    def choose(self, group: int, free: Tensor) -> Tensor:
        assert self.scores is not None
        torch.mul(free.square(), self.diagonal[group], out=self.scores[group * self.size : (group + 1) * self.size])
        return super().choose(group, free)

    def _costs(self, group: int, pairs: Tensor) -> Tensor:
        return torch.addmm(self.prices, self.costs[group], pairs)

    def keep(self) -> Tensor:
        assert self.scores is not None
        return keep_top(self.scores, self.count)


class Blocks:
    """Keep a block of rows by columns whole, or remove it whole, whichever is cheaper at the price of one kept."""

    again = True

    def __init__(self, rows: int, columns: int, count: int) -> None:
        self.rows, self.size, self.count = rows, columns, count
        self.scores: Tensor | None = None

    def prepare(self, curvature: Tensor, dense: Tensor) -> None:
        self.curvature = curvature
        if self.scores is None:
            grouped = dense.reshape(len(curvature), self.size, -1)
            self.scores = torch.stack(
                [self._costs(*each) for each in zip(curvature, grouped, strict=True)]
            )  # [G, K/rows]
        self.price = price(self.scores, self.count)

    def choose(self, group: int, free: Tensor) -> Tensor:
        assert self.scores is not None
        self.scores[group] = self._costs(self.curvature[group], free)
        kept = (self.scores[group] >= self.price).repeat_interleave(self.rows)
        return torch.where(kept, free, 0.0)

    def _costs(self, curvature: Tensor, free: Tensor) -> Tensor:
        """Return what it costs to remove each block of rows of a group [m, K]. -> [K/rows]."""
        return ((curvature @ free) * free).sum(0).reshape(-1, self.rows).sum(1)

    def keep(self) -> Tensor:
        assert self.scores is not None
        return keep_top(self.scores, self.count).repeat_interleave(self.size, 0).repeat_interleave(self.rows, 1)


class Ranked:
    """Keep the n of m whose removal alone would cost most: for groups with too many subsets to compare."""

    again = False

    def __init__(self, n: int, m: int) -> None:
        self.n, self.size = n, m

    def prepare(self, curvature: Tensor, dense: Tensor) -> None:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(curvature))
        self.weights = inverse.diagonal(dim1=1, dim2=2).reciprocal()[..., None]  # [G, m, 1]
        self.kept = torch.empty(dense.shape, dtype=torch.bool)

    def choose(self, group: int, free: Tensor) -> Tensor:
        scores = free.square() * self.weights[group]
        kept = keep_n_of_m(scores.t().contiguous(), self.n, self.size).t()
        self.kept[group * self.size : (group + 1) * self.size] = kept
        return torch.where(kept, free, 0.0)

    def keep(self) -> Tensor:
        return self.kept


def price(scores: Tensor, count: int) -> Tensor:
    """Return the `count`-th highest score."""
    return torch.kthvalue(scores.flatten(), scores.numel() - count + 1).values
