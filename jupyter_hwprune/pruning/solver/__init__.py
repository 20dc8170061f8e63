"""One-shot pruning of one layer: which weights go, and what the others become, from its calibration inputs alone.

The layer's error ||(W - Q)X||^2 is a quadratic in each row of Q with the one Hessian H = X^T X. A first sweep over the
groups of columns removes weights while the columns not yet reached take up the error (SparseGPT, arXiv:2301.00774);
further sweeps choose each group again with all others held, and conjugate gradients end at the least squares of the
mask (as in ALPS, arXiv:2406.07831). `best` searches the mask by `splitting` too. Memory beside the arguments, of any
effort: twice the Gram matrix and five times the weight, in float32, and eight pieces of 16 MiB. So 4096 neurons of
14336 inputs take less than 3.8 GiB, their own weight and Gram matrix among them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.errors import PruneError
from ...core.options import Solver
from ...core.pattern import NM, Block, Unstructured
from .choices import Choices, choices_for
from .hessian import PANEL, conjugate_gradients, damped, dot, energy, lower_product, pieces
from .splitting import split
from .sweep import sweep

STEPS = 3  # of conjugate gradients; further ones, or sweeps, gain little on inputs other than those of calibration
WORTH = 0.01  # of the error: a step that gains less is the last one
BEST_STEPS, BEST_WORTH = 30, 0.001  # the same for the best mask


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
    effort: Solver = "full",
    taps: int = 1,
    tell: Callable[[str], None] = lambda _round: None,
) -> Solved:
    """Prune `weight` [K, D] to the pattern, with the least error on inputs whose Gram matrix X^T X is `gram` [D, D].

    D is `taps` times the input channels, channels last. `sparsity` is the share of weights (of blocks) removed, with
    the exact count over the layer; n:m fixes its own. `effort` quick is the first sweep alone, and leaves out the
    product that the error takes (`layer_error` makes it); best compares the mask that the sweeps found with that of a
    search by splitting, whose rounds it tells. Raises PruneError for a Gram matrix that is not finite, or a
    width that the pattern does not divide.
    """
    outputs, width = weight.shape
    unit = pattern.m if isinstance(pattern, NM) else pattern.columns if isinstance(pattern, Block) else 1
    if (width // taps) % unit:
        raise PruneError(f"Groups of {unit} do not divide the layer's {width // taps} inputs: leave it out.")
    choices = choices_for(pattern, sparsity, outputs, width)
    order = _order(gram, choices)  # [D]
    hessian, factor, used, raised = damped(_ordered(gram, order), damping)
    dense = weight.detach().float().t().contiguous().index_select(0, order)  # [D, K]: each column one run of memory
    pull = torch.zeros_like(dense)
    pruned = sweep(factor, dense, pull, choices, lower=True)
    lost = dot(pull, pull)
    keep, stale = choices.keep(pruned)
    if effort != "quick":
        pull = lower_product(factor, pull)
    del factor
    if effort != "quick" and choices.again:
        tried = sweep(hessian, pruned, pull, choices)
        stale = (now := dot(dense - tried, pull)) >= lost  # a price can take away more than the sweep mends
        if not stale:
            pruned, lost = tried, now
            keep, stale = choices.keep(tried)
        del tried
    if stale:
        pruned *= keep
        pull = hessian @ (dense - pruned)
        lost = dot(dense - pruned, pull)
    if stale or effort != "quick":
        lost -= float(conjugate_gradients(pruned, pull, keep, hessian, STEPS, least=WORTH * lost).sum())
    del pull
    if effort == "best":
        pruned, keep, lost = _best(dense, pruned, keep, lost, hessian, choices, tell)
    error = None if effort == "quick" else _error(dense, pruned, hessian, used, lost)
    back = order.argsort()
    result, kept = (each.index_select(0, back).t().contiguous() for each in (pruned, keep))
    return Solved(result.add_(0.0), kept, used, raised, error)  # -0.0 to 0.0


def _best(
    dense: Tensor,
    pruned: Tensor,
    keep: Tensor,
    lost: float,
    hessian: Tensor,
    choices: Choices,
    tell: Callable[[str], None],
) -> tuple[Tensor, Tensor, float]:
    """Return the better of two masks [D, K], the sweeps' and the splitting's, with its weights and their error.

    Each row takes the mask that is better for it, where rows have counts of their own.
    """
    least = BEST_WORTH * lost
    errors = _solved(dense, pruned, keep, hessian, least)  # [K]
    mask = split(dense, hessian, choices, tell)
    if mask is not None:
        other = dense * mask
        others = _solved(dense, other, mask, hessian, least)
        better = others < errors if choices.by_row else (others.sum() < errors.sum()).expand_as(errors)
        for mine, found in ((pruned, other), (keep, mask), (errors, others)):
            torch.where(better, found, mine, out=mine)
    return pruned, keep, float(errors.sum(dtype=torch.float64))


def _solved(dense: Tensor, weight: Tensor, keep: Tensor, hessian: Tensor, least: float) -> Tensor:
    """Solve for the weights kept, in place, and return the error of each column [K]."""
    errors = []
    for own in pieces(weight):
        removed = dense[:, own] - weight[:, own]
        pull = hessian @ removed
        before = removed.mul_(pull).sum(0)
        share = least * len(before) / weight.shape[1]
        gone = conjugate_gradients(weight[:, own], pull, keep[:, own], hessian, BEST_STEPS, least=share)
        errors.append(before - gone)
    return torch.cat(errors)


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


def _ordered(gram: Tensor, order: Tensor) -> Tensor:
    """Return a copy in float32 with its rows and columns in this order, made by panels of rows. [D, D]."""
    result = torch.empty(gram.shape)
    for rows, into in zip(torch.split(order, PANEL), torch.split(result, PANEL), strict=True):
        into.copy_(gram.index_select(0, rows).index_select(1, order))
    return result


def _order(gram: Tensor, choices: Choices) -> Tensor:
    """Return the columns so that sweeps, from the last to the first, meet the groups in the order that suits them."""
    energy_of_groups = gram.diagonal().reshape(-1, choices.size).sum(1)
    groups = energy_of_groups.argsort(descending=not choices.largest_first, stable=True)
    middle = len(groups) // 2  # met at the end, where weights worth about the price make up for a count that is off
    groups = torch.cat([groups[middle : middle + 1], groups[:middle], groups[middle + 1 :]])
    return (groups[:, None] * choices.size + torch.arange(choices.size)).flatten()
