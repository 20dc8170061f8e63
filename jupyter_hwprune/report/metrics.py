"""A report's numbers under stable names, flat, as experiment loggers take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Report

Number = float | int | None


def metrics(report: Report) -> dict[str, float]:
    """Return what is known as numbers; what was not measured is left out, never 0. Times are milliseconds a batch."""
    named = (*_speed(report), *_size(report), *_quality(report), *_four(report), *_runtimes(report))
    return {name: float(value) for name, value in named if value is not None}


def _speed(report: Report) -> Iterator[tuple[str, Number]]:
    deciding, timed, energy = report.deciding, report.timed, report.energy
    yield "speedup", deciding.speedup
    yield "speedup_low", deciding.low
    yield "speedup_high", deciding.high
    yield "noise_floor", deciding.noise_floor
    if timed is not None:
        yield "dense_ms", timed.dense_ms
        yield "pruned_ms", timed.pruned_ms
    if report.measurement.kind == "estimated":
        yield "estimated_ratio", report.measurement.ratio
    if energy is not None:
        yield "dense_mj", None if energy.dense is None else energy.dense.total_mj
        yield "pruned_mj", None if energy.pruned is None else energy.pruned.total_mj


def _size(report: Report) -> Iterator[tuple[str, Number]]:
    totals, footprint = report.totals, report.footprint
    yield "sparsity", report.request.sparsity
    yield "dense_weights", totals.weights
    yield "pruned_weights", totals.pruned_weights
    yield "dense_macs", totals.macs
    yield "pruned_macs", totals.pruned_macs
    if footprint is not None:
        yield "dense_bytes", footprint.dense_bytes
        yield "pruned_bytes", footprint.pruned_bytes


def _quality(report: Report) -> Iterator[tuple[str, Number]]:
    if report.scores is not None:
        yield "dense_score", report.scores.dense
        yield "pruned_score", report.scores.pruned
    if report.check is not None:
        yield "output_error", report.check.pruned_error


def _four(report: Report) -> Iterator[tuple[str, Number]]:
    for row in report.corners.rows if report.corners is not None else ():
        if row.dtype == "int8":
            name = f"{'pruned' if row.pruned else 'dense'}_int8"
            yield f"{name}_ms", row.ms
            yield f"{name}_speedup", row.speed.speedup
            yield f"{name}_score", row.score
            yield f"{name}_bytes", row.file_bytes
            yield f"{name}_output_error", row.error


def _runtimes(report: Report) -> Iterator[tuple[str, Number]]:
    for row in report.runtimes.rows if report.runtimes is not None else ():
        yield f"{row.toolchain}_dense_ms", row.dense_ms
        yield f"{row.toolchain}_pruned_ms", row.pruned_ms
