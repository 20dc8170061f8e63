"""Orders of rows and of columns under which blocks lose less: what is high comes together, and what is low.

Channels that are alike are gathered first. Then, given which blocks stay, the best place for each channel is an optimal
assignment, and given the places, the best blocks to keep are the highest: in turn, as in Lloyd's k-means. A channel may
stand in several matrices at once, in the rows of one and in the columns of another, and moves in all of them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...core.errors import InputError
from ...core.pattern import Block
from ..masks import keep_blocks

ROUNDS = 10  # through all channels, at most; most of the gain comes with the first few
PATIENCE = 1e-3  # the relative gain of a round below which it ends
PLACES_AT_ONCE = 512  # in one assignment, whose time grows with the third power
ROWS, COLUMNS = 0, 2  # dimensions of a matrix [K, taps, C]


@dataclass(frozen=True)
class Axis:
    """Where the channels of a set stand in one matrix: `positions` int64 [U, k] along ROWS or COLUMNS."""

    matrix: int
    dim: int
    positions: Tensor


def cluster(scores: Tensor, pattern: Block, *, sparsity: float = 0.5) -> tuple[Tensor, Tensor]:
    """Find orders so that the blocks kept hold most. [K, C] of >= 0 -> int64 [K] of rows, int64 [C] of columns.

    `sparsity` is the share of blocks to be removed. No orders are worse than those given, and the same scores give the
    same orders. Memory: a few copies of the scores, and K * K and C * C values. Raises InputError where blocks do not
    divide the matrix.
    """
    outputs, inputs = scores.shape
    if outputs % pattern.rows or inputs % pattern.columns:
        raise InputError(f"The scores are of shape {outputs} by {inputs}, which blocks of {pattern} do not divide.")
    own = scores.detach().float().cpu()[:, None]
    columns, rows = Axis(0, COLUMNS, torch.arange(inputs)[:, None]), Axis(0, ROWS, torch.arange(outputs)[:, None])
    by_columns, by_rows = arrange([own], [[columns], [rows]], pattern, sparsity)
    return by_rows, by_columns


def arrange(
    matrices: Sequence[Tensor], sets: Sequence[Sequence[Axis]], pattern: Block, sparsity: float
) -> list[Tensor]:
    """Find for each set of channels an order, so that the blocks kept of all matrices [K, taps, C] hold most.

    -> int64 [U] each: place i takes what stood in place order[i].
    """
    generator = torch.Generator().manual_seed(0)
    now = list(matrices)
    given = [torch.arange(len(axes[0].positions)) for axes in sets]
    best, most = given, _retained(now, pattern, sparsity)
    orders, last = list(given), 0.0
    for done in range(ROUNDS):
        for i, axes in enumerate(sets):
            step = _assign(_values(now, axes, pattern, sparsity), generator) if done else _gather(now, axes, pattern)
            orders[i] = orders[i][step]
            for axis in axes:
                now[axis.matrix] = move(now[axis.matrix], axis, step)
        found = _retained(now, pattern, sparsity)
        if found > most:
            best, most = list(orders), found
        if found <= last * (1 + PATIENCE):
            break
        last = found
    return best


def _gather(matrices: Sequence[Tensor], axes: Sequence[Axis], pattern: Block) -> Tensor:
    """Put beside the strongest channel those most alike that fill its block, then the same with those left. -> [U]."""
    size = pattern.columns if any(axis.dim == COLUMNS for axis in axes) else pattern.rows
    units = len(axes[0].positions)
    likeness = torch.zeros(units, units)
    for axis in axes:
        for profiles in _profiles(matrices[axis.matrix], axis):
            centred = profiles - profiles.mean(dim=0)
            likeness += centred @ centred.T
    left = torch.ones(units, dtype=torch.bool)
    order = []
    for strongest in likeness.diagonal().argsort(descending=True):
        if left[strongest]:
            left[strongest] = False
            mates = likeness[strongest].masked_fill(~left, -torch.inf).topk(min(size - 1, int(left.sum()))).indices
            left[mates] = False
            order += [strongest[None], mates]
    return torch.cat(order)


def _values(matrices: Sequence[Tensor], axes: Sequence[Axis], pattern: Block, sparsity: float) -> Tensor:
    """Say what each place would retain of each channel, with the blocks that are kept now. -> [place, who]."""
    units = len(axes[0].positions)
    values = torch.zeros(units, units)
    for axis in axes:
        own = matrices[axis.matrix]
        keep = _kept(own, pattern, sparsity).to(own.dtype)
        for places, profiles in zip(_profiles(keep, axis), _profiles(own, axis), strict=True):
            values += places @ profiles.T
    return values


def _profiles(matrix: Tensor, axis: Axis) -> list[Tensor]:
    """Return what a channel holds, as [U, rest of the matrix], once for each of its k positions."""
    lines = matrix.movedim(axis.dim, 0).flatten(1)
    return [lines[at] for at in axis.positions.unbind(1)]


def _assign(values: Tensor, generator: torch.Generator) -> Tensor:
    """Give each place one of all, so that the values [place, who] add up to more, or to as much. -> int64 [place]."""
    given = torch.arange(len(values))
    for part in torch.split(torch.randperm(len(values), generator=generator), PLACES_AT_ONCE):
        places, who = linear_sum_assignment(values[part][:, part].numpy(), maximize=True)
        given[part[torch.from_numpy(places)]] = part[torch.from_numpy(who)]
    return given


def move(matrix: Tensor, axis: Axis, order: Tensor) -> Tensor:
    """Give the channels their new places: i takes what stood in order[i]."""
    source = torch.arange(matrix.shape[axis.dim])
    source[axis.positions.flatten()] = axis.positions[order].flatten()
    return matrix.index_select(axis.dim, source)


def retained_in_blocks(scores: Tensor, pattern: Block, sparsity: float = 0.5) -> float:
    """Sum the scores [K, C], or [K, taps, C], in the blocks that are kept, in float64."""
    own = scores if scores.ndim == 3 else scores[:, None]
    return float(own.double()[_kept(own, pattern, sparsity)].sum())


def _retained(matrices: Sequence[Tensor], pattern: Block, sparsity: float) -> float:
    return sum(retained_in_blocks(matrix, pattern, sparsity) for matrix in matrices)


def _kept(scores: Tensor, pattern: Block, sparsity: float) -> Tensor:
    """Keep the highest blocks, as many as pruning does. [K, taps, C] -> bool [K, taps, C]."""
    count = max(1, round((1 - sparsity) * (scores.numel() // (pattern.rows * pattern.columns))))
    return keep_blocks(scores, pattern.rows, pattern.columns, count)
