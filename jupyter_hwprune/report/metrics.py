"""A report's numbers under stable names, flat, as experiment loggers and requirements take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .measurement import Timed

if TYPE_CHECKING:
    from .corners import Corner
    from .measurement import Evidence
    from .report import Report

Number = float | int | None


@dataclass(frozen=True)
class Metric:
    """A number of a report: what it means, how to read it, and why it may be missing."""

    says: str
    of: Callable[[Report], Number]
    why_not: Callable[[Report], str]


def metrics(report: Report) -> dict[str, float]:
    """Return what is known as numbers; what was not measured is left out, never 0. Times are milliseconds a batch."""
    found = {name: metric.of(report) for name, metric in METRICS.items()} | dict(_runtimes(report))
    return {name: float(value) for name, value in found.items() if value is not None}


def _at(*path: str) -> Callable[[Report], Number]:
    """Follow attributes from the report; None as soon as one of them is."""

    def value(report: Report) -> Number:
        found: Any = report
        for name in path:
            found = None if found is None else getattr(found, name)
        return cast("Number", found)

    return value


def _deployed(pruned: Callable[[Report], Number], fastest: Callable[[Corner], Number]) -> Callable[[Report], Number]:
    """Take the number of the fastest of four models, else of the pruned one."""
    return lambda report: pruned(report) if report.fastest is None else fastest(report.fastest)


def _megabytes(report: Report) -> Number:
    """Weigh the compiled files, or what the search for a size weighed where the toolchain writes none of its own."""
    size = _deployed(_at("footprint", "pruned_bytes"), lambda row: row.file_bytes)(report)
    if size is None and report.search is not None:
        size = report.search.chosen.size_bytes
    return None if size is None else size / 1e6


def _drop(report: Report) -> Number:
    after = _deployed(_at("scores", "pruned"), lambda row: row.score)(report)
    return None if report.scores is None or after is None else report.scores.dense - after


def _runtimes(report: Report) -> Iterator[tuple[str, Number]]:
    for row in report.runtimes.rows if report.runtimes is not None else ():
        yield f"{row.toolchain}_dense_ms", row.dense_ms
        yield f"{row.toolchain}_pruned_ms", row.pruned_ms


def _int8(pruned: bool, of: Callable[[Corner], Number]) -> Callable[[Report], Number]:
    def value(report: Report) -> Number:
        rows = () if report.corners is None else report.corners.rows
        return next((of(row) for row in rows if row.dtype == "int8" and row.pruned == pruned), None)

    return value


def _utilization(name: str) -> Callable[[Report], Number]:
    def value(report: Report) -> Number:
        return getattr(report.measurement, name) if report.measurement.kind == "estimated" else None

    return value


def _not_timed(report: Report) -> str:
    measurement = report.measurement
    if isinstance(measurement, Timed):
        return "this comparison could not be made"
    if measurement.kind == "estimated":
        return "the compiler only estimated both models (estimated_ratio); run the same line where the chip is"
    return _said(measurement.evidence)


def _no_files(report: Report) -> str:
    timed = isinstance(report.measurement, Timed)
    return f"{report.request.toolchain} wrote no files to weigh" if timed else _said(report.measurement.evidence)


def _no_memory(report: Report) -> str:
    return f"{report.request.toolchain} does not say what its models take of the chip's memory"


def _no_peak(report: Report) -> str:
    ran = f"no process ran a file of {report.request.toolchain} on this computer's CPU"
    return f"{ran}, or the system does not report peaks"


def _no_energy(report: Report) -> str:
    if report.energy is None:
        return f"no meter was read here; `%hwprune doctor {report.request.target}` says what one needs"
    return _said(report.energy.evidence)


def _no_score(report: Report) -> str:
    unscored = report.corners and report.corners.unscored
    return unscored or "no score was given; add --eval, or end the cell with one"


def _no_int8(report: Report) -> str:
    if report.corners is None:
        return "there are no int8 models; add --dtype int8 for a CPU"
    return _no_score(report) if report.corners.rows else _said(report.corners.evidence)


def _said(evidence: Evidence) -> str:
    cure = f". Cure: {evidence.cure}" if evidence.cure else ""
    return f"{(evidence.reason or 'nothing was measured').rstrip('.')}{cure}"


def _uncounted(_: Report) -> str:
    return "what this model computes could not be counted"


def _not_estimated(report: Report) -> str:
    return f"{report.request.toolchain} gave no estimate; ask for speedup where the models were timed"


def _no_utilization(report: Report) -> str:
    return f"{report.request.toolchain} does not say how much of the chip its models use"


MEMORY = {
    "weight_bytes": "bytes of the constants, as the compiler packs them,",
    "sram_bytes": "peak bytes on the chip",
    "traffic_bytes": "bytes moved from and to flash or DRAM in a run",
}
DECIDING = "of the comparison behind the verdict"
DEPLOYED = "of the model in the headline: with int8 the fastest one, else the pruned one"
METRICS: dict[str, Metric] = {
    "speedup": Metric(f"dense time / pruned time, {DECIDING}", _at("deciding", "speedup"), _not_timed),
    "speedup_low": Metric("lower end of its 95 % interval", _at("deciding", "low"), _not_timed),
    "speedup_high": Metric("upper end of its 95 % interval", _at("deciding", "high"), _not_timed),
    "noise_floor": Metric("noise floor, as a share", _at("deciding", "noise_floor"), _not_timed),
    "latency_ms": Metric(
        f"milliseconds a batch {DEPLOYED}", _deployed(_at("timed", "pruned_ms"), lambda row: row.ms), _not_timed
    ),
    "dense_ms": Metric("milliseconds a batch of the dense model in float", _at("timed", "dense_ms"), _not_timed),
    "pruned_ms": Metric("milliseconds a batch of the pruned model in float", _at("timed", "pruned_ms"), _not_timed),
    "estimated_ratio": Metric(
        "dense cost / pruned cost by the compiler's own estimate",
        lambda each: each.measurement.ratio if each.measurement.kind == "estimated" else None,
        _not_estimated,
    ),
    "dense_utilization": Metric(
        "share of the chip's multiplications that the dense model makes, by that estimate",
        _utilization("dense_utilization"),
        _no_utilization,
    ),
    "pruned_utilization": Metric(
        "the same of the pruned model, what it skips left out", _utilization("pruned_utilization"), _no_utilization
    ),
    "energy_mj": Metric("millijoules a batch of the pruned model", _at("energy", "pruned", "total_mj"), _no_energy),
    "dense_mj": Metric("millijoules a batch of the dense model", _at("energy", "dense", "total_mj"), _no_energy),
    "pruned_mj": Metric("the same as energy_mj", _at("energy", "pruned", "total_mj"), _no_energy),
    "sparsity": Metric("share asked for", _at("request", "sparsity"), _uncounted),
    "dense_weights": Metric("weights of the dense model", _at("totals", "weights"), _uncounted),
    "pruned_weights": Metric("weights left", _at("totals", "pruned_weights"), _uncounted),
    "dense_macs": Metric("multiply-accumulates of the dense model", _at("totals", "macs"), _uncounted),
    "pruned_macs": Metric("multiply-accumulates left", _at("totals", "pruned_macs"), _uncounted),
    "size_mb": Metric(f"megabytes of the compiled files {DEPLOYED}", _megabytes, _no_files),
    "dense_bytes": Metric("bytes of the dense model's compiled files", _at("footprint", "dense_bytes"), _no_files),
    "pruned_bytes": Metric("bytes of the pruned model's compiled files", _at("footprint", "pruned_bytes"), _no_files),
    **{
        f"{side}_peak_bytes": Metric(
            f"peak bytes of a process that runs the {side} model's file, above its libraries",
            _at("peak_memory", f"{side}_bytes"),
            _no_peak,
        )
        for side in ("dense", "pruned")
    },
    **{
        f"{side}_{name}": Metric(f"{said} of the {side} model", _at("footprint", side, name), _no_memory)
        for side in ("dense", "pruned")
        for name, said in MEMORY.items()
    },
    "drop": Metric(f"score of the dense model less that {DEPLOYED}; below 0 for a rise", _drop, _no_score),
    "dense_score": Metric("score of the dense model", _at("scores", "dense"), _no_score),
    "pruned_score": Metric("score of the pruned model", _at("scores", "pruned"), _no_score),
    "output_error": Metric(
        "largest difference from torch's outputs, as a share",
        _at("check", "pruned_error"),
        _not_timed,
    ),
}
for _name, _pruned in (("dense_int8", False), ("pruned_int8", True)):
    _whose = f"{_name.partition('_')[0]} int8 model"
    METRICS |= {
        f"{_name}_ms": Metric(f"milliseconds a batch of the {_whose}", _int8(_pruned, lambda row: row.ms), _no_int8),
        f"{_name}_speedup": Metric(
            f"dense float time / time of the {_whose}", _int8(_pruned, lambda row: row.speed.speedup), _no_int8
        ),
        f"{_name}_score": Metric(
            f"score of the {_whose}, as compiled", _int8(_pruned, lambda row: row.score), _no_int8
        ),
        f"{_name}_bytes": Metric(
            f"bytes of the {_whose}'s files", _int8(_pruned, lambda row: row.file_bytes), _no_int8
        ),
        f"{_name}_output_error": Metric(
            f"largest difference of the {_whose}, as a share", _int8(_pruned, lambda row: row.error), _no_int8
        ),
    }
