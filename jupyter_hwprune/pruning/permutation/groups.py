"""An order of columns under which n:m loses less: search on a matrix of scores.

n:m keeps n of every m neighbours, so who stands beside whom decides what is lost. The neighbourhood searched is large:
take one column out of every group of m, and give each group one of them back, by an optimal assignment. What group g
without column i would retain with column j is exact for all pairs at once: with s the sum of the n-1 highest of what is
left in a row, and t the n-th, it is sum(s + max(t, w)), and sum(max(t, w)) = (sum(t) + sum(w) + |t - w|) / 2.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from ...core.errors import InputError
from ...core.pattern import NM

GROUPS_AT_ONCE = 256  # groups that exchange columns in one assignment; its cost grows with the square, or worse
HEAT = 0.3  # noise on the first round's gains, in their own standard deviations
COOLED = 0.9  # of the rounds, after which nothing but true gains counts
WORK = 8e9  # operations a search may take where the caller names no rounds
FEWEST, MOST = 24, 2000  # rounds, whatever WORK says


def search(scores: Tensor, pattern: NM, *, rounds: int | None = None, seed: int = 0) -> Tensor:
    """Find an order of columns so that n of every m neighbours keep most. [K, C] of >= 0 -> int64 [C].

    Simulated annealing on assignments: noise on the gains fades to nothing over the rounds. By default those are as
    many as fit a fixed amount of work (seconds on a core), on a sample of the rows where even a few would not. The same
    seed finds the same order, and none is worse than that given. Memory: three copies of the scores. Raises InputError
    where m does not divide C, or for scores below zero. What is retained, as in Pool and Yu, "Channel Permutations for
    N:M Sparsity" (NeurIPS 2021).
    """
    _validate(scores, pattern)
    outputs, inputs = scores.shape
    groups = inputs // pattern.m
    identity = torch.arange(inputs)
    if groups < 2:
        return identity
    own = scores.detach().float().cpu()
    if rounds is None:
        work = groups * min(groups, GROUPS_AT_ONCE) + 4 * pattern.n * inputs  # of a round, for each row
        rounds = max(FEWEST, min(MOST, int(WORK / (work * outputs))))
        rows = int(4 * WORK / (work * rounds))
        if rows < outputs:
            own = own[torch.randperm(outputs, generator=torch.Generator().manual_seed(seed))[:rows]]
    columns = own.t().contiguous()  # [C, K]
    order = _anneal(columns, identity.reshape(groups, pattern.m).clone(), pattern.n, rounds, seed)
    return order if retained(scores, pattern, order) > retained(scores, pattern) else identity


def retained(scores: Tensor, pattern: NM, order: Tensor | None = None) -> float:
    """Sum what n of every m neighbours keep of the scores [K, C], their columns taken in that order, in float64."""
    total = 0.0
    for rows in torch.split(scores.detach(), max(1, (1 << 22) // scores.shape[1])):
        own = rows if order is None else rows[:, order]
        kept = own.reshape(-1, pattern.m).topk(pattern.n, dim=1, sorted=False).values
        total += float(kept.sum(dtype=torch.float64))
    return total


def bound(scores: Tensor, pattern: NM) -> float:
    """Sum what n/m of each row keep where they may stand anywhere: no order of columns retains more."""
    return retained(scores, NM(pattern.n * scores.shape[1] // pattern.m, scores.shape[1]))


def _validate(scores: Tensor, pattern: NM) -> None:
    if scores.ndim != 2 or scores.shape[1] % pattern.m:
        raise InputError(
            f"The scores are of shape {tuple(scores.shape)}; {pattern} needs a matrix [outputs, inputs] with inputs in "
            f"multiples of {pattern.m}."
        )
    if scores.numel() and not float(scores.min()) >= 0:
        raise InputError("The scores hold values below zero, or NaN; give magnitudes, or another importance.")


def _anneal(columns: Tensor, order: Tensor, n: int, rounds: int, seed: int) -> Tensor:
    """Exchange columns [C, K] between the groups of `order` [G, m] for so many rounds. -> [C]."""
    groups, m = order.shape
    generator = torch.Generator().manual_seed(seed)
    parts = -(-groups // GROUPS_AT_ONCE)
    unit = None
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        run = map if parts == 1 else pool.map
        for done in range(rounds):
            out = torch.randint(m, (groups, 1), generator=generator)
            order = order.gather(1, (out + torch.arange(m)) % m)  # what goes out stands first
            shuffled = order[torch.randperm(groups, generator=generator)].tensor_split(parts)
            gains = list(run(lambda part: _gains(columns, part, n), shuffled))
            unit = _spread(gains[0]) if unit is None else unit
            heat = HEAT * unit * max(0.0, 1 - done / (COOLED * rounds))
            if heat:
                gains = [own + heat * torch.randn(own.shape, generator=generator) for own in gains]
            order = torch.cat(list(run(_exchange, shuffled, gains)))
    return order.flatten()


def _gains(columns: Tensor, part: Tensor, n: int) -> Tensor:
    """Say what each group of `part` [S, m] would retain given the first column of each other one. -> [S, S]."""
    tops = _highest([columns[members] for members in part[:, 1:].unbind(1)], n)  # n of [S, K]
    last, incoming = tops[-1], columns[part[:, 0]]
    distance = torch.from_numpy(cdist(last.numpy(), incoming.numpy(), "cityblock"))
    own = sum(top.sum(dim=1) for top in tops) - last.sum(dim=1) / 2
    gains: Tensor = distance / 2 + own[:, None] + incoming.sum(dim=1) / 2
    return gains


def _highest(values: list[Tensor], n: int) -> list[Tensor]:
    """Return the n highest of some tensors, place by place, the highest first; faster than a sort of short groups."""
    tops = []
    for _ in range(n):
        best, rest = values[0], []
        for other in values[1:]:
            rest.append(torch.minimum(best, other))
            best = torch.maximum(best, other)
        tops.append(best)
        values = rest
    return tops


def _exchange(part: Tensor, gains: Tensor) -> Tensor:
    _, chosen = linear_sum_assignment(gains.numpy(), maximize=True)
    return torch.cat([part[torch.from_numpy(chosen), :1], part[:, 1:]], dim=1)


def _spread(gains: Tensor) -> float:
    """Return the standard deviation of the gains without what a whole row, or a whole column, shares."""
    return float((gains - gains.mean(0) - gains.mean(1, keepdim=True) + gains.mean()).std(correction=0))
