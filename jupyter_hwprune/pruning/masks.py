"""Make masks from scores: `keep` is True where a weight stays. Pure functions with exact counts.

Of equal scores, the first position is kept; so the same scores give the same mask on every machine.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import torch
from torch import Tensor

WIDE_GROUP = 16  # above this many weights a group, a sort is cheaper than comparing all pairs
SAMPLED = 1 << 16
AT_ONCE = 1 << 15
"""torch does operations on up to so many elements in the thread that asks for them. Larger ones wait at the barriers of
its own pool, tens of times longer as soon as another program has one of the cores."""


def keep_top(scores: Tensor, count: int) -> Tensor:
    """Keep the `count` highest of all scores, whatever their shape. [..] -> bool [..].

    A sample gives bounds for the lowest kept score, and only scores within them are ranked; if the bounds are wrong,
    all scores are ranked. The count is exact in both cases.
    """
    flat = scores.flatten()
    if count <= 0 or count >= flat.numel():
        return torch.full(scores.shape, count > 0, dtype=torch.bool, device=scores.device)
    keep, near = _split_at(flat, *_bracket(flat, count))
    missing = count - int(keep.count_nonzero())
    if not 0 <= missing <= len(near):
        keep, near = _split_at(flat, -torch.inf, torch.inf)
        missing = count
    if missing:
        values = flat[near]
        threshold = torch.kthvalue(values, len(near) - missing + 1).values
        higher = near[values > threshold]
        keep[higher] = True
        keep[near[values == threshold][: missing - len(higher)]] = True
    return keep.reshape(scores.shape)


def _bracket(flat: Tensor, count: int) -> tuple[float, float]:
    """Guess two scores between which the `count`-th highest is, from some that are spread evenly."""
    if flat.numel() < 4 * SAMPLED:
        return -torch.inf, torch.inf
    sample = flat[:: flat.numel() // SAMPLED | 1].sort(descending=True).values  # odd: not the same columns in each row
    middle, margin = count / flat.numel() * len(sample), 4 * len(sample) ** 0.5
    low, high = min(len(sample) - 1, int(middle + margin)), max(0, int(middle - margin))
    return float(sample[low]), float(sample[high])


def _split_at(flat: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Say which scores are above `high`, and where those from `low` to `high` are. [N] -> bool [N], int64 [..]."""
    keep = torch.empty(flat.numel(), dtype=torch.bool, device=flat.device)
    starts = range(0, flat.numel(), AT_ONCE)

    def split(start: int) -> Tensor:
        part, above = flat[start : start + AT_ONCE], keep[start : start + AT_ONCE]
        torch.gt(part, high, out=above)
        return ((part >= low) ^ above).nonzero().flatten() + start

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return keep, torch.cat(list(pool.map(split, starts)))


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """Keep the `n` highest of every `m` neighbours along the last axis, which m divides. [.., C] -> bool [.., C]."""
    groups = scores.reshape(-1, m)  # [groups, m]
    keep = torch.empty(groups.shape, dtype=torch.bool, device=scores.device)
    choose = _keep_by_sorting if m > WIDE_GROUP else _keep_by_comparing
    portions = torch.split(groups, AT_ONCE), torch.split(keep, AT_ONCE)  # which stay in the processor's cache
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(choose, *portions, repeat(n)))  # an error in a portion is raised here
    return keep.reshape(scores.shape)


def _keep_by_comparing(groups: Tensor, keep: Tensor, n: int) -> None:
    """Count for each weight how many of its group rank higher; of equal scores, those at earlier positions."""
    size, m = groups.shape
    columns = torch.empty(m, size, dtype=groups.dtype, device=groups.device)  # each comparison reads two whole rows
    rank = torch.empty(m, size, dtype=torch.int8, device=groups.device)
    for i in range(m):
        columns[i].copy_(groups[:, i])
        rank[i].fill_(i)
    for i in range(m):
        for j in range(i + 1, m):
            later_wins = (columns[j] > columns[i]).view(torch.int8)
            rank[i].add_(later_wins)
            rank[j].sub_(later_wins)
    for i in range(m):
        torch.lt(rank[i], n, out=keep[:, i])


def _keep_by_sorting(groups: Tensor, keep: Tensor, n: int) -> None:
    order = groups.argsort(dim=1, descending=True, stable=True)
    keep.zero_().scatter_(1, order[:, :n], value=True)


def keep_blocks(scores: Tensor, rows: int, columns: int, count: int) -> Tensor:
    """Keep the `count` blocks of [rows, columns] with the highest sums. [K, taps, C] -> bool [K, taps, C]."""
    keep = keep_top(block_sums(scores, rows, columns), count)  # [K/rows, taps, C/columns]
    return keep.repeat_interleave(rows, 0).repeat_interleave(columns, 2)


def keep_blocks_evenly(scores: Tensor, rows: int, columns: int, share: float) -> Tensor:
    """Keep the share of the blocks with the highest sums in each row of blocks. [K, taps, C] -> bool [K, taps, C]."""
    sums = block_sums(scores, rows, columns)  # [K/rows, taps, C/columns]
    size = sums[0].numel()
    keep = keep_n_of_m(sums.flatten(1), max(1, round(share * size)), size).reshape(sums.shape)
    return keep.repeat_interleave(rows, 0).repeat_interleave(columns, 2)


def block_sums(scores: Tensor, rows: int, columns: int) -> Tensor:
    """Sum the scores within each block. [K, taps, C] -> [K/rows, taps, C/columns]."""
    k, taps, c = scores.shape
    return scores.reshape(k // rows, rows, taps, c // columns, columns).sum(dim=(1, 4))
