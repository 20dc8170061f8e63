"""One pass over a layer's groups of columns, each decided with what the error of the others asks of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .choices import Choices


def sweep(factor: Tensor, base: Tensor, pull: Tensor, choices: Choices, *, lower: bool = False) -> Tensor:
    """Decide all groups, the last columns first, and return the pruned weight [D, K].

    With the Hessian as `factor` and pull = H (W - base), each group gets its best choice with all others held (block
    coordinate descent). With the Hessian's `lower` Cholesky factor L, base = W and no pull, the columns still to come
    are free to take up the error: the layer's error is ||L^T (W - Q)||^2, a sum over columns, so this is SparseGPT's
    sweep without an inverse. `pull` [D, K] is overwritten by its value afterwards: H (W - Q), or L^T (W - Q).

    Halves are decided one after the other and exchange their error in one product, so nearly all of the work is large
    products.
    """
    width, size = len(base), choices.size
    count = width // size
    blocks = factor.reshape(count, size, count, size).diagonal(dim1=0, dim2=2).permute(2, 1, 0)  # [G, m, m], each .T
    inverse = torch.linalg.solve_triangular(blocks, torch.eye(size), upper=True) if lower else blocks.inverse()
    curvature = blocks.mT @ blocks if lower else blocks  # [G, m, m]
    pruned, change = torch.empty_like(base), torch.empty_like(base)
    choices.prepare(curvature, base, pull, pruned)
    _Groups(factor, inverse, base, pull, pruned, change, choices, lower).decide(0, count)
    pull.view(count, size, -1).baddbmm_(blocks, change.view(count, size, -1))
    return pruned


@dataclass(frozen=True)
class _Groups:  # and no closure: one that calls itself holds the factor until Python collects cycles
    factor: Tensor
    inverse: Tensor
    base: Tensor
    pull: Tensor
    pruned: Tensor
    change: Tensor
    choices: Choices
    lower: bool

    def decide(self, start: int, stop: int) -> None:
        size, pull, change = self.choices.size, self.pull, self.change
        if stop - start == 1:
            own = slice(start * size, stop * size)
            held, chosen = self.base[own], self.pruned[own]
            # the group's best values were all of it kept [m, K]
            free = torch.addmm(held, self.inverse[start], pull[own])
            self.choices.choose(start, free, chosen)
            torch.sub(held, chosen, out=change[own])
            return
        middle = (start + stop) // 2
        left, right = slice(start * size, middle * size), slice(middle * size, stop * size)
        self.decide(middle, stop)
        pull[left].addmm_(self.factor[right, left].mT, change[right])
        self.decide(start, middle)
        if not self.lower:
            pull[right].addmm_(self.factor[left, right].mT, change[left])
