"""Estimate batch normalisation's running statistics anew: pruning changes what each layer sees, and they do not follow.

No weight changes and nothing is trained. Li et al. 2020, EagleEye (arXiv:2007.02491), call it adaptive batch
normalisation, and show that without it the scores of pruned networks say little about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.copying import copied
from ..core.errors import counted, first_line
from ..core.example import Example
from .batches import joined

if TYPE_CHECKING:
    from . import Pruned

FEWEST_ROWS = 64


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the modules that normalise with running statistics."""
    return [each for each in model.modules() if isinstance(each, _BatchNorm) and each.running_mean is not None]


def with_own_statistics(
    pruned: Pruned,
    dense: nn.Module,
    batches: Sequence[Example],
    score: Callable[[nn.Module], float | None] | None,
    *,
    refitted: bool = False,
) -> Pruned:
    """Return the pruned model with running statistics of its own, from the batches, and say what they bring.

    The dense model's stay where there are too few rows or none, where a batch cannot be normalised by itself, or where
    the score is lower with the new ones; of layers `refitted` with the dense model's, and without a score, also where
    the outputs are no nearer to the dense ones.
    """
    rows = sum(each.batch for each in batches)
    if not batch_norms(pruned.model):
        return pruned
    if not batches:
        said = (
            f"BatchNorm's running statistics are still the dense model's: --calib with at least {FEWEST_ROWS} rows of "
        )
        return replace(
            pruned, statistics=f"{said}your data estimates them again, which often brings back much of the score."
        )
    if rows < FEWEST_ROWS:
        said = f"The calibration inputs have {counted(rows, 'row')}, too few for BatchNorm's statistics: those of the "
        return replace(pruned, statistics=f"{said}dense model were kept. Give --calib at least {FEWEST_ROWS} rows.")
    model, together = copied(pruned.model), joined(batches)
    try:
        estimate(model, together)
    except ValueError as error:  # torch's word for a batch with one value to a channel
        said = f"BatchNorm's statistics are those of the dense model: {first_line(error)}"
        return replace(pruned, statistics=f"{said} Give --calib batches of more rows.")
    what = f"BatchNorm's running statistics were estimated again on {counted(rows, 'calibration row')}"
    kept = "--keep-statistics keeps the dense model's"
    if score is not None:
        before, after = score(pruned.model), score(model)
        if before is not None and after is not None:
            if after < before:
                said = (
                    f"but the score is {after:.4g} with them and {before:.4g} with the dense model's, which were kept"
                )
                return replace(pruned, statistics=f"{what}, {said}.")
            said = f"the score is {after:.4g} with them and {before:.4g} with the dense model's"
            return replace(pruned, model=model, statistics=f"{what}: {said}. {kept}.")
    far, near = (_distance(each, dense, together[0]) for each in (pruned.model, model))
    if refitted and near >= far:
        said = f"but the outputs are {near:.0%} of their length away from the dense model's with them and {far:.0%}"
        return replace(pruned, statistics=f"{what}, {said} without, so the dense model's were kept.")
    said = f"the outputs are {near:.0%} of their length away from the dense model's, and {far:.0%} without that"
    return replace(pruned, model=model, statistics=f"{what}: {said}. {kept}.")


def estimate(model: nn.Module, batches: Sequence[Example]) -> None:
    """Set the running statistics in place to the average over all rows of the batches."""
    norms, rows = batch_norms(model), 0
    with _collecting(norms), torch.no_grad():
        for batch in batches:
            rows += batch.batch
            for each in norms:
                each.momentum = batch.batch / rows
            batch.through(model)


@contextmanager
def _collecting(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Have these modules alone collect statistics, from none: all others stay in evaluation mode."""
    before = [(each.training, each.momentum) for each in norms]
    for each in norms:
        each.reset_running_stats()
        each.train()
    try:
        yield
    finally:
        for each, (training, momentum) in zip(norms, before, strict=True):
            each.training, each.momentum = training, momentum


def _distance(model: nn.Module, dense: nn.Module, batch: Example) -> float:
    """Return the distance of a model's outputs to the dense model's, relative to the length of these."""
    own, wanted = (torch.cat([t.float().flatten() for t in batch.outputs(each)]) for each in (model, dense))
    return float((own - wanted).norm() / wanted.norm().clamp_min(torch.finfo(torch.float32).tiny))
