"""Merge two reports of one pruning: one pruned and scored here, the other timed on the machine with the chip."""

from collections.abc import Iterator
from dataclasses import replace

from ..core.door import one_door
from ..core.errors import InputError, ReportError, counted
from . import CLIFF_CODE, Layer, Mistake, Report

SAME = (
    *("target", "toolchain", "pattern", "sparsity", "importance", "allocation", "dense", "permute", "keep_all"),
    *("keep_statistics", "solver", "tune_blocks"),
    *("batch", "dtype", "config"),
)


@one_door(ReportError)
def merge(one: Report, other: Report) -> Report:
    """Return the timed report, completed from the other: the score, the pictures, the user's names.

    Raises InputError unless both have the same weights and the same request, and exactly one was timed.
    """
    for each in (one, other):
        if not isinstance(each, Report):
            raise InputError(f"merge joins two reports, such as run.report; this is a {type(each).__name__}.")
    timed, rest = (one, other) if one.timed else (other, one)
    if (one.timed is None) == (other.timed is None):
        which = "Neither report is" if one.timed is None else "Both reports are"
        raise InputError(f"{which} timed; give one timed report and one that is not, of the same pruning.")
    for name in SAME:
        mine, theirs = getattr(timed.request, name), getattr(rest.request, name)
        if mine != theirs:
            raise InputError(f"These are reports of different runs: --{name} is {mine} in one, {theirs} in the other.")
    if timed.fingerprints.dense != rest.fingerprints.dense:
        raise InputError(
            f"These reports are of different models: the weights differ ({timed.fingerprints.dense} and "
            f"{rest.fingerprints.dense}). Save the model's state_dict here and load it there, then run the line again."
        )
    is_same = timed.fingerprints.pruned == rest.fingerprints.pruned
    removed_others = not (is_same or timed.returned or rest.returned)  # not only made other layers dense again
    known = {} if removed_others else {layer.name: layer for layer in rest.layers}
    remarks = _remarks(timed, rest, is_same=is_same, removed_others=removed_others)
    return replace(
        timed,
        request=replace(timed.request, model=rest.request.model, input=rest.request.input),
        layers=tuple(_filled(layer, known.get(layer.name)) for layer in timed.layers),
        next_steps=(),  # of one machine alone
        scores=timed.scores or (rest.scores if is_same else None),
        mistakes=(*timed.mistakes, *(_of_score(rest) if timed.scores is None and is_same else ())),
        reasons=(*timed.reasons, *remarks, f"Joined from a run of {rest.created} and one of {timed.created}."),
    )


def _remarks(timed: Report, rest: Report, *, is_same: bool, removed_others: bool) -> Iterator[str]:
    """Say which parts of the other report are left out, and why."""
    if rest.measurement.kind == "estimated":
        ratio = f"{rest.measurement.ratio:.2f}x"
        yield f"The other report's estimate ({ratio}) is left out: estimates and times cannot be compared."
    seconds = timed.request.tune_kernels
    if seconds != rest.request.tune_kernels:
        how = "untuned" if seconds is None else f"tuned for {seconds:g} s"
        yield f"The timed kernels are {how}; the other report's request differs there."
    if removed_others:
        yield (
            "The two runs removed different weights of the same model, although the request was the same "
            f"({timed.fingerprints.pruned} and {rest.fingerprints.pruned}). Different calibration inputs, training or "
            "versions of torch can cause that. This report shows the timed model; to time the other one, save its "
            "pruned weights and load them there."
        )
    if not is_same and timed.scores is None and rest.scores is not None:
        dense = len(timed.returned) + len(rest.returned)
        why = f": {counted(dense, 'layer')} went back to dense in one of the two runs" if dense else ""
        yield (
            f"The other report's score ({rest.scores.pruned:.4g}) is of a model with different layers pruned, so it is "
            f"left out{why}."
        )


def _of_score(rest: Report) -> Iterator[Mistake]:
    """Yield what only the other report could know: that the score fell off a cliff."""
    yield from (each for each in rest.mistakes if each.code == CLIFF_CODE)


def _filled(layer: Layer, same: Layer | None) -> Layer:
    if same is None:
        return layer
    return replace(layer, picture=layer.picture or same.picture, compressed=layer.compressed or same.compressed)
