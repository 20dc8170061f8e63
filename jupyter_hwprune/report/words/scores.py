"""A fall of the score in words, with its size and the cure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import Scores


def fell(scores: Scores, *, trained: bool) -> tuple[str, str] | None:
    """Say by how much the score fell, and what helps; None if it did not."""
    if scores.pruned >= scores.dense:
        return None
    when = "without training"
    cure = "Train the pruned copy with its zeros held (by a cell, or by --recover without labels), or remove less."
    if trained:
        when, cure = "even after training", "Train longer, prune in more --steps, or remove less."
    said = f"The score fell from {scores.dense:.4g} to {scores.pruned:.4g}, {when}"
    return f"{said}, {_size_of_fall(scores.dense, scores.pruned)}.", cure


def _size_of_fall(dense: float, pruned: float) -> str:
    """Measure a fall by what the score's range allows: as far as 1 for a share, from zero down for a negated loss."""
    by = f"by {dense - pruned:.2g}"
    if dense < 0:
        return f"{by}, {pruned / dense:.3g} times as far below zero"
    if dense <= 1 and pruned >= 0:
        far = f"what it lacks of 1 grew from {1 - dense:.2g} to {1 - pruned:.2g}"
        return f"{by}: {far}" + (f", {(1 - pruned) / (1 - dense):.3g} times" if dense < 1 else "")
    return f"{by}, {(dense - pruned) / dense:.0%} of it" if dense else by
