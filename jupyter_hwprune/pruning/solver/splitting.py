"""Search a layer's mask by splitting: weights that solve the layer, and weights that hold the pattern, pulled together.

The alternating direction method of multipliers on the support, as in ALPS (Meng et al. 2024, arXiv:2406.07831), with
another course of the penalty: it begins low, where the search is free, and rises by the same factor in each round.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .choices import Choices
from .hessian import cholesky

ROUNDS = 12
LOW, HIGH = 0.03, 1.0  # the penalty in the first and in the last round, for a Hessian with ones on its diagonal
STEPS = 2  # in each round, with one inverse
SETTLED = 1e-4  # of the weights: a round that moves fewer of them into or out of the mask is the last one


def split(
    dense: Tensor, hessian: Tensor, choices: Choices, tell: Callable[[str], None] = lambda _round: None
) -> Tensor | None:
    """Return the mask [D, K] found for `dense` [D, K], or None where float32 cannot invert the Hessian [D, D].

    Memory beside the arguments: three times the Hessian's and five times the weight's.
    """
    scale = hessian.diagonal().sqrt()[:, None]  # [D, 1]
    unit = (hessian / scale).div_(scale.mT)
    scaled = dense * scale
    target = unit @ scaled
    keep = choices.largest(scaled)
    held, dual = scaled.mul_(keep), torch.zeros_like(dense)
    for round_ in range(ROUNDS):
        tell(f"round {round_ + 1} of at most {ROUNDS}")
        penalty = LOW * (HIGH / LOW) ** (round_ / (ROUNDS - 1))
        shifted = unit.clone()
        shifted.diagonal().add_(penalty)
        factor = cholesky(shifted)
        del shifted
        if factor is None:
            return None
        inverse = torch.cholesky_inverse(factor)
        del factor
        before = keep
        for _ in range(STEPS):
            wanted = inverse @ (target - dual).add_(held, alpha=penalty)
            wanted.add_(dual, alpha=1 / penalty)
            keep = choices.largest(wanted)
            torch.mul(wanted, keep, out=held)
            torch.sub(wanted, held, out=dual).mul_(penalty)
        if int((keep ^ before).count_nonzero()) < SETTLED * keep.numel():
            break
    return keep
