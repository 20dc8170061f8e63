"""One pass over a layer's groups of columns, each decided with what the error of the others asks of it."""

from __future__ import annotations

import torch
from torch import Tensor

from .choices import Choices


def sweep(factor: Tensor, base: Tensor, pull: Tensor, choices: Choices, *, lower: bool = False) -> Tensor:
    """Decide all groups, the last columns first, and return base minus the pruned weight, [D, K].

    With the Hessian as `factor` and pull = H (W - base), each group gets its best choice with all others held (block
    coordinate descent). With the Hessian's `lower` Cholesky factor L, base = W and no pull, the columns still to come
    are free to take up the error: the layer's error is ||L^T (W - Q)||^2, a sum over columns, so this is SparseGPT's
    sweep without an inverse. `pull` [D, K] is overwritten by its value afterwards: H (W - Q), or L^T (W - Q).

    Halves are decided one after the other and exchange their error in one product, so nearly all of the work is large
    products.
    """
    width, size = len(base), choices.size
    blocks = torch.stack([factor[i : i + size, i : i + size] for i in range(0, width, size)]).mT  # [G, m, m]
    inverse = torch.linalg.solve_triangular(blocks, torch.eye(size), upper=True) if lower else blocks.inverse()
    choices.prepare(blocks.mT @ blocks if lower else blocks, base, pull)
    change = torch.empty_like(base)

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
    pull.unflatten(0, (-1, size)).baddbmm_(blocks, change.unflatten(0, (-1, size)))
    return change
