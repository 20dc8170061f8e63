"""A layer's count of what it keeps, spent group by group at one price."""

from __future__ import annotations

import torch
from torch import Tensor

REPRICED = 6  # the price is set anew after each such share of the groups to come


class Budget:
    """Find the price, the same for all groups, at which a layer keeps `count` of its `total`.

    The groups come in falling order, `expected` [G, sample] of their scores. Those that come differ from them: each
    group takes up the error of the ones before it. So what is left is priced anew on the way, by what is still to come.
    """

    def __init__(self, expected: Tensor, count: int, total: int) -> None:
        self.expected, self.left, self.a_group = expected, count, total // len(expected)
        self.priced = self.due = len(expected)

    def price(self, group: int, kept: Tensor) -> float:
        """Return the least score worth keeping in this group; what is not 0 in `kept` [D, K] behind it has been kept.

        The groups are of as many rows of `kept` each.
        """
        if group < self.due or group == 0:
            size = len(kept) // len(self.expected)
            self.left -= int(kept[(group + 1) * size : self.priced * size].count_nonzero())
            self.priced, self.due = group + 1, group - group // REPRICED
            self.now = self._price(group + 1)
        return self.now

    def _price(self, groups: int) -> float:
        ahead = self.expected[:groups].flatten()
        worth = round(self.left / (groups * self.a_group) * ahead.numel())
        return float(torch.kthvalue(ahead, max(1, ahead.numel() - worth + 1)).values) if worth > 0 else torch.inf
