"""The title and headline of a report. Only times give a verdict, in capitals; an estimate does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .numbers import UNKNOWN, share

if TYPE_CHECKING:
    from .. import Comparison, Corner, Report, Runtimes
    from . import Badge


def what(report: Report) -> str:
    request = report.request
    dtype = f", {request.dtype}" if request.takes_dtype and request.dtype else ""
    by = "" if request.importance in {"magnitude", "recipe"} else f" by {request.importance}"
    of = " of channels" if "channel" in request.pattern else " of blocks" if request.pattern == "depth" else ""
    pattern = f"{request.pattern} at {share(request.sparsity)}{of}{by}"
    rows = [request.toolchain] if report.runtimes is None else [each.toolchain for each in report.runtimes.rows]
    return f"{request.model} for {request.target}, {pattern}, {' and '.join(rows)}{dtype}"


def badge(report: Report) -> Badge:
    measurement = report.measurement
    if measurement.kind == "estimated":
        return "estimated"
    if measurement.evidence.kind == "compiled":
        return "compiled"
    dear = report.verdict == "faster" and report.scores is not None and report.scores.is_cliff(_score_after(report))
    return "faster at a cost" if dear else report.verdict


def headline(report: Report) -> str:
    comparison, measurement = report.deciding, report.measurement
    if measurement.kind == "estimated":
        told = "" if measurement.tells else ", no difference that this estimate can tell,"
        return f"estimated {measurement.ratio:.2f}x{told} by {estimator(report)}, {measurement.unit}"
    if comparison.speedup is None:
        return "compiled, not timed" if measurement.evidence.kind == "compiled" else "NOT MEASURED"
    return f"{_speed(report, comparison)}, {_score(report)}"


def _score(report: Report) -> str:
    """Say the dense model's score and that of the model which the headline is about."""
    scores = report.scores
    if scores is None:
        return "score not given"
    after = _score_after(report)
    return "score not taken" if math.isnan(after) else f"score {scores.dense:.4g} → {after:.4g}"


def _score_after(report: Report) -> float:
    """Return the score of the fastest of four models, else of the pruned one; NaN where it could not be taken."""
    pruned = None if report.scores is None else report.scores.pruned
    after = pruned if report.fastest is None else report.fastest.score
    return math.nan if after is None else after


def _speed(report: Report, comparison: Comparison) -> str:
    if report.fastest is not None:
        return _of_four(report.fastest)
    if report.runtimes is not None:
        return f"{comparison.verdict.upper()} {comparison.speedup:.2f}x: {fastest_of(report.runtimes)}"
    rival = report.rival
    against = f" against dense with {rival.toolchain}" if rival is not None and comparison is rival.speed else ""
    return f"{comparison.verdict.upper()} {comparison.speedup:.2f}x{against}"


def _of_four(fastest: Corner) -> str:
    """Name the fastest of the models that are not the dense one in float, against that."""
    verdict = fastest.speed.verdict.upper()
    if fastest.speed.speedup is None:
        return "NOT MEASURED"
    said = f"{verdict} {fastest.speed.speedup:.2f}x: {named(fastest)} against dense float32"
    return said if fastest.speed.verdict != "slower" else f"{said}, which is the fastest of the four"


def named(corner: Corner) -> str:
    return f"{'pruned' if corner.pruned else 'dense'} {corner.dtype}"


def estimator(report: Report) -> str:
    """Name the compiler that made the estimate."""
    return report.measurement.evidence.device or report.request.toolchain


def interval(comparison: Comparison) -> str | None:
    ends = between(comparison)
    if not ends or comparison.noise_floor is None:
        return None
    return f"95 % interval {ends}, noise floor {100 * comparison.noise_floor:.1f} %"


def between(comparison: Comparison) -> str:
    """Return the ends of the interval alone, for a column that names it; "" without one."""
    low, high = comparison.low, comparison.high
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def speed(comparison: Comparison) -> str:
    if comparison.speedup is None:
        return UNKNOWN
    if comparison.verdict != "no measurable gain":
        return f"{comparison.verdict} {comparison.speedup:.2f}x"
    floor = comparison.noise_floor
    return "within noise" if floor is None else f"within noise, {100 * floor:.2g} %"


def said(comparison: Comparison) -> str:
    """Return a comparison with its interval."""
    spread = interval(comparison)
    return speed(comparison) + (f" ({spread})" if spread else "")


def fastest_of(found: Runtimes) -> str:
    """Name the runtimes with the fastest dense and the fastest pruned model."""
    dense, pruned = found.fastest_dense.toolchain, found.fastest_pruned.toolchain
    return f"pruned with {pruned} against dense with {dense}"
