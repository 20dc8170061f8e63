"""Two halves of one report: pruned and scored here, measured on the machine that has the chip."""

from __future__ import annotations

from dataclasses import replace

from .errors import InputError
from .report import Layer, Report, Scores

SAME = (
    *("target", "toolchain", "pattern", "sparsity", "importance", "allocation", "dense", "permute", "keep_all"),
    *("batch", "dtype"),
)


def merge(one: Report, other: Report) -> Report:
    """Return the measured report of the two, with what only the other has: the score, the pictures, the user's names.

    Raises InputError unless both are of the same weights and the same request, and exactly one was measured.
    """
    measured, rest = (one, other) if one.timed else (other, one)
    kinds = {each.timed is not None for each in (one, other)}
    if kinds != {True, False}:
        which = "Both reports are" if kinds == {True} else "Neither report is"
        raise InputError(f"{which} measured; merging joins one that is with one of the same pruning that is not.")
    for name in SAME:
        mine, theirs = getattr(measured.request, name), getattr(rest.request, name)
        if mine != theirs:
            raise InputError(f"These are reports of two runs: --{name} is {mine} in one and {theirs} in the other.")
    if measured.fingerprints.dense != rest.fingerprints.dense:
        raise InputError(
            f"These are reports of two models: their weights are not the same ({measured.fingerprints.dense} and "
            f"{rest.fingerprints.dense}). Save the model's state_dict here and load it there, then run the line again."
        )
    known = {layer.name: layer for layer in rest.layers}
    scores, remarks = _scores(measured, rest)
    return replace(
        measured,
        request=replace(measured.request, model=rest.request.model, input=rest.request.input),
        layers=tuple(_filled(layer, known.get(layer.name)) for layer in measured.layers),
        scores=scores,
        reasons=(*measured.reasons, *remarks, f"Joined from a run of {rest.created} and one of {measured.created}."),
    )


def _scores(measured: Report, rest: Report) -> tuple[Scores | None, tuple[str, ...]]:
    """Take the score over if it is of the very weights that were measured."""
    if measured.scores is not None or rest.scores is None:
        return measured.scores, ()
    if measured.fingerprints.pruned == rest.fingerprints.pruned:
        return rest.scores, ()
    said = (
        f"The score taken elsewhere ({rest.scores.pruned:.4g}) is of a model with other layers pruned, so it is left "
        f"out: {len(measured.returned)} layers are dense again in the one that was measured."
    )
    return None, (said,)


def _filled(layer: Layer, same: Layer | None) -> Layer:
    if same is None:
        return layer
    return replace(layer, picture=layer.picture or same.picture, compressed=layer.compressed or same.compressed)
