"""One pass over a layer's groups of columns, each decided with what the error of the others asks of it."""

from __future__ import annotations

import torch
from torch import Tensor

from .choices import Choices


def sweep(factor: Tensor, base: Tensor, pull: Tensor, choices: Choices, *, lower: bool = False) -> Tensor:
    """Decide all groups, the last columns first, and return the pruned weight [D, K]; `pull` [D, K] is used up.

    With the Hessian as `factor` and pull = H (W - base), each group gets its best choice with all others held (block
    coordinate descent). With the Hessian's `lower` Cholesky factor, base = W and no pull, the columns still to come are
    free to take up the error: (W - Q) L splits by columns, so this is SparseGPT's sweep without an inverse.

    Halves are decided one after the other and exchange their error in one product, so nearly all of the work is large
    products.
    """
    width, size = len(base), choices.size
    blocks = torch.stack([factor[i : i + size, i : i + size] for i in range(0, width, size)])  # [G, m, m]
    curvature = blocks @ blocks.mT if lower else blocks
    inverse = torch.linalg.solve_triangular(blocks.mT, torch.eye(size), upper=True) if lower else _inverse(blocks)
    choices.prepare(curvature, base, pull)
    change = torch.empty_like(base)  # base - pruned [D, K]

    def decide(start: int, stop: int) -> None:
        if stop - start == 1:
            own = slice(start * size, stop * size)
            free = torch.addmm(base[own], inverse[start], pull[own])  # the group's best values were all kept [m, K]
            torch.sub(base[own], choices.choose(start, free), out=change[own])
            return
        middle = (start + stop) // 2
        left, right = slice(start * size, middle * size), slice(middle * size, stop * size)
        decide(middle, stop)
        pull[left].addmm_(factor[right, left].mT, change[right])
        decide(start, middle)
        if not lower:
            pull[right].addmm_(factor[left, right].mT, change[left])

    decide(0, width // size)
    return base - change


def _inverse(blocks: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky(blocks))
