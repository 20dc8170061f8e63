"""Search a layer's mask by splitting: weights that solve the layer, and weights that hold the pattern, pulled together.

The alternating direction method of multipliers on the support, as in ALPS (Meng et al. 2024, arXiv:2406.07831), with
another course of the penalty: it begins low, where the search is free, and rises by the same factor in each round.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .choices import Choices
from .hessian import cholesky, pieces

ROUNDS = 12
LOW, HIGH = 0.03, 1.0  # the penalty in the first and in the last round, for a Hessian with ones on its diagonal
STEPS = 2  # in each round, with one inverse
SETTLED = 1e-4  # of the weights: a round that moves fewer of them into or out of the mask is the last one


def split(
    dense: Tensor, hessian: Tensor, choices: Choices, tell: Callable[[str], None] = lambda _round: None
) -> Tensor | None:
    """Return the mask [D, K] found for `dense` [D, K], or None where float32 cannot invert the Hessian [D, D].

    Memory beside the arguments: the Hessian's once and the weight's once, and a few pieces. The weights that hold the
    pattern and the multipliers of the others are never both other than 0, so that one matrix holds both.
    """
    scale = hessian.diagonal().sqrt()[:, None]  # [D, 1]
    found = dense * scale
    keep = _largest(found, choices)
    before = 0.0  # the penalty that the multipliers were found with
    for round_ in range(ROUNDS):
        tell(f"round {round_ + 1} of at most {ROUNDS}")
        penalty = LOW * (HIGH / LOW) ** (round_ / (ROUNDS - 1))
        inverse = _inverse(hessian, scale, penalty)
        if inverse is None:
            return None
        last = keep
        for _ in range(STEPS):
            for own in pieces(found):
                free, held = dense[:, own] * scale, found[:, own]
                asked = torch.where(keep[:, own], held - free, -free).mul_(penalty)
                multipliers = torch.where(keep[:, own], 0.0, held).mul_(before)
                torch.add(free, inverse @ asked.sub_(multipliers), out=held).add_(multipliers, alpha=1 / penalty)
            keep, before = _largest(found, choices), penalty
        del inverse  # before the next one is made
        if int((keep ^ last).count_nonzero()) < SETTLED * keep.numel():
            break
    return keep


def _largest(values: Tensor, choices: Choices) -> Tensor:
    if not choices.by_row:
        return choices.largest(values)
    return torch.cat([choices.largest(values[:, own]) for own in pieces(values)], 1)


def _inverse(hessian: Tensor, scale: Tensor, penalty: float) -> Tensor | None:
    """Return the inverse of the Hessian, with ones on its diagonal and the penalty added; in the memory of its copy."""
    matrix = (hessian / scale).div_(scale.mT)
    matrix.diagonal().add_(penalty)
    if not cholesky(matrix):
        return None
    return torch.cholesky_inverse(matrix.mT, upper=True, out=matrix.mT)
