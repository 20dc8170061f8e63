"""Masks from scores: `keep` is True where a weight stays. Pure functions with exact counts.

Equal scores are settled by position, the first one is kept; so the same scores give the same mask everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDE_GROUP = 16  # above this many weights a group, a sort is cheaper than comparing all pairs
GROUPS_AT_ONCE = 1 << 17


def keep_top(scores: Tensor, count: int) -> Tensor:
    """Keep the `count` highest of all scores, whatever their shape. [..] -> bool [..]."""
    flat = scores.flatten()
    keep = torch.zeros(flat.numel(), dtype=torch.bool, device=flat.device)
    if count >= flat.numel():
        return ~keep.reshape(scores.shape)
    if count > 0:
        threshold = torch.kthvalue(flat, flat.numel() - count + 1).values
        keep = flat > threshold
        ties = (flat == threshold).nonzero().flatten()
        keep[ties[: count - int(keep.sum())]] = True
    return keep.reshape(scores.shape)


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """Keep the `n` highest of every `m` neighbours along the last axis, which m divides. [.., C] -> bool [.., C].

    It works through the groups in portions that stay in the processor's cache, so it needs little beside its result.
    """
    groups = scores.reshape(-1, m)  # [groups, m]
    keep = torch.empty(groups.shape, dtype=torch.bool, device=scores.device)
    choose = _keep_by_sorting if m > WIDE_GROUP else _keep_by_comparing
    for part, kept in zip(torch.split(groups, GROUPS_AT_ONCE), torch.split(keep, GROUPS_AT_ONCE), strict=True):
        kept.copy_(choose(part, n))
    return keep.reshape(scores.shape)


def _keep_by_comparing(groups: Tensor, n: int) -> Tensor:
    columns = groups.T.contiguous()  # [m, groups]: each comparison reads two contiguous rows
    rank = torch.zeros(columns.shape, dtype=torch.uint8, device=groups.device)  # how many in the group go before
    for i in range(len(columns)):
        for j in range(i + 1, len(columns)):
            later_wins = columns[j] > columns[i]
            rank[i] += later_wins
            rank[j] += ~later_wins
    return (rank < n).T


def _keep_by_sorting(groups: Tensor, n: int) -> Tensor:
    order = groups.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order[:, :n], value=True)


def keep_blocks(scores: Tensor, rows: int, columns: int, count: int) -> Tensor:
    """Keep the `count` blocks of [rows, columns] with the highest sums. [K, taps, C] -> bool [K, taps, C]."""
    return expand_blocks(keep_top(block_sums(scores, rows, columns), count), rows, columns)


def block_sums(scores: Tensor, rows: int, columns: int) -> Tensor:
    """Sum the scores within each block. [K, taps, C] -> [K/rows, taps, C/columns]."""
    k, taps, c = scores.shape
    return scores.reshape(k // rows, rows, taps, c // columns, columns).sum(dim=(1, 4))


def expand_blocks(keep: Tensor, rows: int, columns: int) -> Tensor:
    """Spread a mask of blocks over their weights. [K/rows, taps, C/columns] -> [K, taps, C]."""
    return keep.repeat_interleave(rows, 0).repeat_interleave(columns, 2)
