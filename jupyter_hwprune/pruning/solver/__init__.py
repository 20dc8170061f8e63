"""One-shot pruning of one layer: which weights go, and what the others become, from its calibration inputs alone.

The layer's error ||(W - Q)X||^2 is a quadratic in each row of Q with the one Hessian H = X^T X. A first sweep over the
groups of columns removes weights while the columns not yet reached take up the error (SparseGPT, arXiv:2301.00774);
further sweeps choose each group again with all others held, and conjugate gradients end at the least squares of the
mask (as in ALPS, arXiv:2406.07831). Memory beside the arguments: about eight times the weight and three times the Gram
matrix, in float32.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...core.errors import PruneError
from ...core.pattern import NM, Block, Unstructured
from .choices import Choices, choices_for
from .hessian import conjugate_gradients, damped, dot, energy, lower_product
from .sweep import sweep

Effort = Literal["quick", "full"]
STEPS = 3  # of conjugate gradients; further ones, or sweeps, gain little on inputs other than those of calibration
WORTH = 0.01  # of the error: a step that gains less is the last one


@dataclass(frozen=True)
class Solved:
    """`damping` is the share of the Hessian's mean diagonal that was added to it, after raising it `raised` times."""

    weight: Tensor  # [K, D] float32, 0.0 (never -0.0) where removed
    keep: Tensor  # bool [K, D]
    damping: float
    raised: int
    error: float | None  # ||(W - W')X||^2 / ||W X||^2 on the calibration inputs; None of a quick one


def solve(
    weight: Tensor,
    gram: Tensor,
    pattern: NM | Block | Unstructured,
    sparsity: float,
    *,
    damping: float = 0.01,
    effort: Effort = "full",
    taps: int = 1,
) -> Solved:
    """Prune `weight` [K, D] to the pattern, with the least error on inputs whose Gram matrix X^T X is `gram` [D, D].

    D is `taps` times the input channels, channels last. `sparsity` is the share of weights (of blocks) removed, with
    the exact count over the layer; n:m fixes its own. `effort` quick is the first sweep alone, and leaves out the
    product that the error takes (`layer_error` makes it). Raises PruneError for a Gram matrix that is not finite, or a
    width that the pattern does not divide.
    """
    outputs, width = weight.shape
    unit = pattern.m if isinstance(pattern, NM) else pattern.columns if isinstance(pattern, Block) else 1
    if (width // taps) % unit:
        raise PruneError(f"Groups of {unit} do not divide the layer's {width // taps} inputs: leave it out.")
    choices = choices_for(pattern, sparsity, outputs, width)
    order = _order(gram, choices)  # [D]
    hessian, factor, used, raised = damped(gram.index_select(0, order).index_select(1, order), damping)
    dense = weight.detach().float().t().contiguous().index_select(0, order)  # [D, K]: each column one run of memory
    pull = torch.zeros_like(dense)
    pruned = sweep(factor, dense, pull, choices, lower=True)
    lost = dot(pull, pull)
    keep, stale = choices.keep(pruned)
    if effort == "full":
        pull = lower_product(factor, pull)
        if choices.again:
            tried = sweep(hessian, pruned, pull, choices)
            stale = (now := dot(dense - tried, pull)) >= lost  # a price can take away more than the sweep mends
            if not stale:
                pruned, lost = tried, now
                keep, stale = choices.keep(tried)
    if stale:
        pruned *= keep
        pull = hessian @ (dense - pruned)
        lost = dot(dense - pruned, pull)
    if stale or effort == "full":
        lost -= conjugate_gradients(pruned, pull, keep, hessian, STEPS, least=WORTH * lost)
    error = None if effort == "quick" else _error(dense, pruned, hessian, used, lost)
    back = order.argsort()
    result, kept = (each.index_select(0, back).t().contiguous() for each in (pruned, keep))
    return Solved(result.add_(0.0), kept, used, raised, error)  # -0.0 to 0.0


def _error(dense: Tensor, pruned: Tensor, hessian: Tensor, damping: float, lost: float) -> float:
    """Return the error without the damping's share, from what was `lost` with it."""
    removed = dense - pruned
    whole = energy(dense, hessian) - damping * dot(dense, dense)
    return max(0.0, lost - damping * dot(removed, removed)) / whole if whole > 0 else 0.0


def layer_error(weight: Tensor, pruned: Tensor, gram: Tensor) -> float:
    """Return ||(W - W')X||^2 / ||W X||^2, from the Gram matrix of X; 0 where the layer's output is 0 anyway."""
    dense, other, products = (each.detach().float() for each in (weight, pruned, gram))
    whole = energy(dense.t(), products)
    return energy((dense - other).t(), products) / whole if whole > 0 else 0.0


def _order(gram: Tensor, choices: Choices) -> Tensor:
    """Return the columns so that sweeps, from the last to the first, meet the groups in the order that suits them."""
    energy_of_groups = gram.diagonal().reshape(-1, choices.size).sum(1)
    groups = energy_of_groups.argsort(descending=not choices.largest_first, stable=True)
    middle = len(groups) // 2  # met at the end, where weights worth about the price make up for a count that is off
    groups = torch.cat([groups[middle : middle + 1], groups[:middle], groups[middle + 1 :]])
    return (groups[:, None] * choices.size + torch.arange(choices.size)).flatten()
