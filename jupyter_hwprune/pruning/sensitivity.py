"""The scan: prune each layer alone at several sparsities, all others dense, and measure the model's error."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count

import torch
from torch import Tensor, nn

from ..core.copying import copied
from ..core.errors import InputError
from ..core.example import Example
from ..report import Curve, Point, Sensitivity

LEVELS = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95)
ROWS = 64  # of the calibration data in each pass


def scan(
    model: nn.Module,
    layers: Mapping[str, int],
    prune_one: Callable[[nn.Module, str, float], float],
    batches: Sequence[Example],
    levels: Sequence[float] = LEVELS,
    score: Callable[[nn.Module], float] | None = None,
    *,
    groups: Mapping[str, int] | None = None,
    rows: int = ROWS,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Sensitivity:
    """Prune each layer (or set of channels) alone at each level and measure what that costs; `model` is not changed.

    `layers` has each one's number of weights, and `groups` how many of them go together. `prune_one` zeroes weights of
    the model it is given, in place, and returns the share that really went; what it changed is put back. The error is
    that of the outputs on the first `rows` rows of the batches, in evaluation mode, or what `score` of the model
    (higher is better) falls by. It takes 1 + layers x levels passes at most, of which `progress` is told. Raises
    InputError where the dense model's outputs, or its score, cannot be compared with.
    """
    own = copied(model).eval()
    pristine = [(tensor, tensor.detach().clone()) for tensor in (*own.parameters(), *own.buffers())]
    few = first_rows(batches, rows)
    measure = _by_score(own, score) if score is not None else _by_outputs(own, few)
    most, number = 1 + len(layers) * len(levels), count(1)
    curves = []
    for name, weights in layers.items():
        errors: dict[float, float | None] = {}
        for level in sorted(levels):
            progress(next(number), most)
            with torch.no_grad():
                for tensor, before in pristine:
                    tensor.copy_(before)
                share = prune_one(own, name, level)
            if share > 0 and share not in errors:  # few blocks or channels: several levels come to the same
                errors[share] = measure()
        points = tuple(Point(share, error) for share, error in sorted(errors.items()))
        curves.append(Curve(name, weights, points, (groups or {}).get(name, 1)))
    progress(most, most)
    passes = 1 + sum(len(curve.points) for curve in curves)
    if score is not None:
        return Sensitivity("score", tuple(curves), None, passes)
    return Sensitivity("output error", tuple(curves), sum(batch.batch for batch in few), passes)


def first_rows(batches: Sequence[Example], rows: int) -> list[Example]:
    """Return the first `rows` rows of the batches, the last one cut where it has more."""
    taken = []
    for batch in batches:
        if rows <= 0:
            break
        taken.append(batch.rebatched(min(batch.batch, rows)))
        rows -= batch.batch
    return taken


def output_error(dense: Sequence[Sequence[Tensor]], pruned: Sequence[Sequence[Tensor]]) -> float | None:
    """Return the mean squared difference over the mean square of all batches, a mean over outputs; None: not finite."""
    errors = []
    for wanted, found in zip(zip(*dense, strict=True), zip(*pruned, strict=True), strict=True):  # each output's batches
        square = sum(float(w.double().square().sum()) for w in wanted)
        difference = sum(float((f.double() - w.double()).square().sum()) for w, f in zip(wanted, found, strict=True))
        errors.append(difference / square if square else difference)
    error = sum(errors) / len(errors)
    return error if math.isfinite(error) else None


def _by_outputs(own: nn.Module, batches: Sequence[Example]) -> Callable[[], float | None]:
    def run() -> list[list[Tensor]]:
        with torch.random.fork_rng(devices=[]):  # the same numbers for a model that draws some, and none of the user's
            return [[out for out in batch.outputs(own) if out.is_floating_point()] for batch in batches]

    dense = run()
    if not dense or not dense[0] or not all(bool(torch.isfinite(out).all()) for outs in dense for out in outs):
        raise InputError(
            "The scan compares the model's outputs on the calibration data, and there are none, or none that are "
            "finite numbers. Give inputs with --calib, or a score with --eval."
        )
    return lambda: output_error(dense, run())


def _by_score(own: nn.Module, score: Callable[[nn.Module], float]) -> Callable[[], float | None]:
    def run() -> float:
        with torch.random.fork_rng(devices=[]):
            found = float(score(own))
        own.eval()
        return found

    dense = run()
    if not math.isfinite(dense):
        raise InputError(f"The score of the dense model is {dense}; a scan needs a finite one, higher is better.")

    def drop() -> float | None:
        found = run()
        return dense - found if math.isfinite(found) else None

    return drop
