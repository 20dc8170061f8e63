"""A layer's count of what it keeps, spent group by group at one price."""

from __future__ import annotations

import torch
from torch import Tensor

from ..masks import keep_top

REPRICED = 12  # the price is set anew after each such share of the groups to come


class Budget:
    """Keep what is worth its price, which is the same for all groups, so that the count is spent at the last of them.

    The groups come in falling order, `expected` [G, sample] of their scores. Those that come differ from them: each
    group takes up the error of the ones before it. So what is left is priced anew on the way, by what is still to come.
    """

    def __init__(self, expected: Tensor, count: int, total: int) -> None:
        self.expected = expected
        self.left = count
        self.a_group = total // len(expected)
        self.next = len(expected) - 1

    def spend(self, group: int, scores: Tensor) -> Tensor:
        """Return which of a group's scores are worth keeping. [n] -> bool [n]."""
        if group == 0:
            kept = keep_top(scores, max(0, self.left))
        else:
            if group <= self.next:
                self.next = group - 1 - group // REPRICED
                self.price = self._price(group + 1)
            kept = scores >= self.price
        self.left -= int(kept.count_nonzero())
        return kept

    def _price(self, groups: int) -> float:
        ahead = self.expected[:groups].flatten()
        worth = round(self.left / (groups * self.a_group) * ahead.numel())
        if worth <= 0:
            return torch.inf
        return float(torch.kthvalue(ahead, max(1, ahead.numel() - worth + 1)).values)
