"""Orders of rows and of columns under which blocks lose less: what is high comes together, and what is low.

Columns that are alike are gathered first. Then, given which blocks stay, the best place for each column is an optimal
assignment, and given the places, the best blocks to keep are the highest: in turn, as in Lloyd's k-means.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from ...errors import InputError
from ...pattern import Block
from ..masks import keep_blocks

ROUNDS = 10  # of rows and columns in turn, at most; most of the gain comes with the first few
PATIENCE = 1e-3  # the relative gain of a round below which it ends
PLACES_AT_ONCE = 512  # in one assignment, whose time grows with the third power


def cluster(scores: Tensor, pattern: Block, *, sparsity: float = 0.5) -> tuple[Tensor, Tensor]:
    """Find orders so that the blocks kept hold most. [K, C] of >= 0 -> int64 [K] of rows, int64 [C] of columns.

    `sparsity` is the share of blocks to be removed. No orders are worse than those given, and the same scores give the
    same orders. Memory: a few copies of the scores, and K * K and C * C values. Raises InputError where blocks do not
    divide the matrix.
    """
    outputs, inputs = scores.shape
    if outputs % pattern.rows or inputs % pattern.columns:
        raise InputError(f"The scores are of shape {outputs} by {inputs}, which blocks of {pattern} do not divide.")
    own = scores.detach().float().cpu()
    best = (torch.arange(outputs), torch.arange(inputs))
    most = retained_in_blocks(own, pattern, sparsity)
    columns = gather_alike(own.T, pattern.columns)
    rows = gather_alike(own[:, columns].reshape(outputs, -1, pattern.columns).sum(dim=2), pattern.rows)
    generator = torch.Generator().manual_seed(0)
    last = 0.0
    for _ in range(ROUNDS):
        now = own[rows][:, columns]
        columns = columns[assign(now.T @ blocks_kept(now, pattern, sparsity).float(), generator)]
        now = own[rows][:, columns]
        rows = rows[assign(now @ blocks_kept(now, pattern, sparsity).float().T, generator)]
        found = retained_in_blocks(own[rows][:, columns], pattern, sparsity)
        if found > most:
            best, most = (rows, columns), found
        if found <= last * (1 + PATIENCE):
            break
        last = found
    return best


def gather_alike(profiles: Tensor, size: int) -> Tensor:
    """Put beside the strongest [N, F] its size - 1 most alike, then the same with those left over. -> int64 [N]."""
    centred = profiles - profiles.mean(dim=0)
    likeness = centred @ centred.T  # [N, N]
    left = torch.ones(len(profiles), dtype=torch.bool)
    order = []
    for strongest in likeness.diagonal().argsort(descending=True):
        if left[strongest]:
            left[strongest] = False
            mates = likeness[strongest].masked_fill(~left, -torch.inf).topk(size - 1).indices
            left[mates] = False
            order += [strongest[None], mates]
    return torch.cat(order)


def assign(values: Tensor, generator: torch.Generator) -> Tensor:
    """Give each place one of all, so that the values [who, place] add up to more, or to as much. -> int64 [place]."""
    given = torch.arange(len(values))
    for part in torch.split(torch.randperm(len(values), generator=generator), PLACES_AT_ONCE):
        places, who = linear_sum_assignment(values[part][:, part].T.numpy(), maximize=True)
        given[part[torch.from_numpy(places)]] = part[torch.from_numpy(who)]
    return given


def retained_in_blocks(scores: Tensor, pattern: Block, sparsity: float = 0.5) -> float:
    """Sum the scores [K, C] in the blocks that are kept, in float64."""
    return float(scores.double()[blocks_kept(scores, pattern, sparsity)].sum())


def blocks_kept(scores: Tensor, pattern: Block, sparsity: float) -> Tensor:
    """Keep the highest blocks, as many as pruning does. [K, C] -> bool [K, C]."""
    count = max(1, round((1 - sparsity) * (scores.numel() // (pattern.rows * pattern.columns))))
    return keep_blocks(scores[:, None], pattern.rows, pattern.columns, count)[:, 0]
