"""Remove units one after the other, each time the one whose loss the others can best make up for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...core.errors import PruneError

STEPS = 16  # so large a part of the units left is removed before all losses are computed anew
CANDIDATES = 2  # times those removed at once; among these, the losses are exact


@dataclass
class Problem:
    """One least-squares problem min ||W X - W' X||^2 with weights leaving it; what has left is no longer in it.

    `inverse` [D, D] is that of the damped Gram matrix X X^T, `weight` [K, D] is the best for the columns that are left,
    and `columns` [U, s] are those of each unit that is left.
    """

    inverse: Tensor
    weight: Tensor
    columns: Tensor

    def losses(self) -> Tensor:
        """Return what the error grows by when a unit goes and all others make up for it. -> [U].

        That is tr W_S [(H^-1)_SS]^-1 W_S^T, for all columns S of the unit.
        """
        if self.columns.shape[1] == 1:  # most layers': one division takes the place of each system
            own = self.columns[:, 0]
            return self.weight[:, own].square().sum(0) / _above_zero(self.inverse.diagonal()[own])
        own = self.inverse[self.columns[:, :, None], self.columns[:, None, :]]  # [U, s, s]
        weight = self.weight[:, self.columns].permute(1, 2, 0)  # [U, s, K]
        across: Tensor = torch.linalg.solve_triangular(factored(own), weight, upper=False)
        return across.square().sum((1, 2))

    def remove(self, units: Tensor) -> None:
        """Remove units [n], by their places among those left, and let the other columns make up for them."""
        gone = self.columns[units].flatten()
        kept = torch.ones(len(self.inverse), dtype=torch.bool)
        kept[gone] = False
        across = self.inverse[gone]  # [n * s, D]
        moved = torch.cholesky_solve(across[:, kept], factored(across[:, gone]))
        self.weight = torch.addmm(self.weight[:, kept], self.weight[:, gone], moved, alpha=-1)
        self.inverse = torch.addmm(self.inverse[kept][:, kept], across[:, kept].mT, moved, alpha=-1)
        stay = torch.ones(len(self.columns), dtype=torch.bool)
        stay[units] = False
        self.columns = (kept.cumsum(0) - 1)[self.columns[stay]]

    def among(self, units: Tensor) -> Problem:
        """Return the same problem for some units, whose losses depend on these columns alone."""
        columns = self.columns[units]
        own = columns.flatten()
        return Problem(
            self.inverse[own[:, None], own], self.weight[:, own], torch.arange(len(own)).reshape(columns.shape)
        )


def factored(matrix: Tensor) -> Tensor:
    """Return the lower Cholesky factors of positive definite matrices [.., n, n], damped where rounding took that away.

    Raises PruneError where they are far from it, or not finite.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    share, scale = torch.finfo(matrix.dtype).eps, matrix.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)  # [.., 1]
    while bool(failed.any()):
        if share > 1:
            raise PruneError(
                "The products of a layer's calibration inputs are not positive definite or not finite, so no "
                "second-order solution exists. Calibrate with inputs for which the model's activations are finite."
            )
        factor, failed = torch.linalg.cholesky_ex(matrix + torch.diag_embed((share * scale).expand(matrix.shape[:-1])))
        share *= 10
    return factor


def removal_order(problems: Sequence[Problem], units: int) -> tuple[Tensor, Tensor]:
    """Return the units as they are best removed, and what the sum of the errors grows by with each. -> [U - 1] twice.

    The last unit stays. The problems are used up.
    """
    alive = torch.arange(units)
    order, costs = [], []
    while len(alive) > 1:
        count = min(max(1, len(alive) // STEPS), len(alive) - 1)
        losses = torch.stack([each.losses() for each in problems]).sum(0)
        candidates = losses.argsort(stable=True)[: CANDIDATES * count if count > 1 else 1]
        if count == 1:
            picked, own = candidates, losses[candidates]
        else:
            one_by_one = _singles if all(each.columns.shape[1] == 1 for each in problems) else _one_by_one
            picked, own = one_by_one([each.among(candidates) for each in problems], candidates, count)
        order.append(alive[picked])
        costs.append(own)
        for each in problems:
            each.remove(picked)
        stay = torch.ones(len(alive), dtype=torch.bool)
        stay[picked] = False
        alive = alive[stay]
    return torch.cat(order), torch.cat(costs)


def _one_by_one(problems: Sequence[Problem], candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Remove `count` of the candidates, each by the losses that the one before left."""
    picked, costs = [], []
    for _ in range(count):
        losses = torch.stack([each.losses() for each in problems]).sum(0)
        best = losses.argmin()
        picked.append(candidates[best])
        costs.append(losses[best])
        for each in problems:
            each.remove(best[None])
        candidates = torch.cat([candidates[:best], candidates[best + 1 :]])
    return torch.stack(picked), torch.stack(costs)


def _singles(problems: Sequence[Problem], candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Do the same where each unit is one column: updates of rank one, of all problems at once, that move no column."""
    inverse = torch.stack([each.inverse for each in problems])  # [P, U, U]
    weight = pad_sequence([each.weight for each in problems], batch_first=True)  # [P, K, U]
    gone = torch.zeros(len(candidates), dtype=torch.bool)
    picked, costs = [], []
    for _ in range(count):
        losses = (weight.square().sum(1) / _above_zero(inverse.diagonal(dim1=1, dim2=2))).sum(0)
        best = int(losses.masked_fill_(gone, torch.inf).argmin())
        gone[best] = True
        picked.append(candidates[best])
        costs.append(losses[best])
        row = inverse[:, best].clone()
        scaled = (row / _above_zero(row[:, best, None]))[:, None]  # [P, 1, U]
        weight.baddbmm_(weight[:, :, best, None].clone(), scaled, alpha=-1)
        inverse.baddbmm_(row[:, :, None], scaled, alpha=-1)
    return torch.stack(picked), torch.stack(costs)


def _above_zero(values: Tensor) -> Tensor:
    """Return what is positive but for rounding as something to divide by."""
    return values.clamp_min(torch.finfo(values.dtype).tiny)
