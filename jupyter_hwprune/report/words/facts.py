"""Facts of the whole model as names and words, in the order to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from ...core.errors import counted
from . import blockwise, corners, search
from . import runtimes as of_runtimes
from .layers import memories, name, served_by
from .line import line
from .numbers import UNKNOWN, change, count, middle_cut, milliseconds, removed, share, sizes, three_digits
from .verdict import estimator, fastest_of, interval, named, speed

if TYPE_CHECKING:
    from .. import Energy, Evidence, Hotspots, Recovered, Report, Skipped, Timed


FUNCTIONS = 3  # of each model; the others are in the report


@dataclass(frozen=True)
class Fact:
    """A named fact; `evidence` is True if it supports the headline, else it tells what the model kept and lost."""

    name: str
    said: str
    evidence: bool


def facts(report: Report) -> list[Fact]:
    evidence = [Fact(name, said, evidence=True) for name, said in _evidence(report)]
    return evidence + [Fact(name, said, evidence=False) for name, said in _kept(report)]


def _evidence(report: Report) -> Iterator[tuple[str, str]]:
    measurement = report.measurement
    yield from search.facts(report)
    if measurement.kind == "timed":
        yield from _timed(report, measurement)
        return
    evidence = measurement.evidence
    if measurement.kind == "estimated":
        before, after = (f"{count(each)} {measurement.unit}" for each in (measurement.dense, measurement.pruned))
        times = measurement.times_ms if measurement.unit == "cycles" else None
        clock = "" if times is None else f", {' → '.join(map(milliseconds, times))} at {measurement.clock_mhz:g} MHz"
        yield "estimate", f"{before} → {after} for a batch of {report.request.batch}{clock}"
        if measurement.dense_utilization is not None and measurement.pruned_utilization is not None:
            said = change(share(measurement.dense_utilization), share(measurement.pruned_utilization))
            yield (
                "utilisation",
                f"{said} of the multiplications that the chip could do in that time, not counting skipped ones",
            )
        yield "by", f"the cost model of {estimator(report)}, {_versions(report)}; nothing ran on the chip"
        yield from _footprint(report)
        if evidence.reason is not None:
            yield "not timed", evidence.reason
    elif evidence.kind == "compiled":
        yield "compiled", f"by {report.request.toolchain} for {evidence.device or report.chip}, {_versions(report)}"
        yield from _footprint(report)
        yield "not timed", evidence.reason or "no reason was given"
    else:
        yield "not measured", evidence.reason or ""
    if evidence.reason is not None or measurement.kind == "untimed":
        yield "cure", evidence.cure or "none known"
    if not report.request.on_host and report.blockwise is None:
        yield "the line", f"`{line(report)}`; then `%hwprune merge` joins its report with this one"


def _timed(report: Report, timed: Timed) -> Iterator[tuple[str, str]]:
    request = report.request
    clock = "process-CPU time" if timed.clock == "cpu" else "wall time"
    on_cpu = request.on_host or request.rpc is not None
    how = counted(request.threads, "thread") if on_cpu else request.dtype
    fastest, rival, runtimes = report.fastest, report.rival, report.runtimes
    if runtimes is not None:
        ends = [milliseconds(ms) for ms in (runtimes.fastest_dense.dense_ms, runtimes.fastest_pruned.pruned_ms)]
        yield "time", f"{' → '.join(ends)}, {fastest_of(runtimes)}"
    elif fastest is not None:
        said = f"dense float32 → {named(fastest)}"
        yield "time", f"{milliseconds(timed.dense_ms)} → {milliseconds(fastest.ms)} ({said})"
    elif rival is not None and rival.dense_ms is not None and report.deciding is rival.speed:
        whose = f"dense with {rival.toolchain}"
        yield "time", f"{milliseconds(rival.dense_ms)}, {whose}, → {milliseconds(timed.pruned_ms)}"
    else:
        yield "time", f"{milliseconds(timed.dense_ms)} → {milliseconds(timed.pruned_ms)}"
    rounds = counted(len(timed.dense.cpu_ms), "interleaved round")
    processes = f" in {len(timed.rounds)} processes" if len(timed.rounds) > 1 else ""
    yield "measured", f"{clock} of a batch of {request.batch}, {how}, {rounds}{processes}"
    if timed.interrupted is not None:
        said = f"confirmation was interrupted after process {max(1, len(timed.rounds))} of {timed.interrupted}"
        yield "confirmed", f"{said}: the verdict uses what was timed until then"
    if timed.pruned_again is not None:
        spreads = [f"{milliseconds(min(each))} to {milliseconds(max(each))}" for each in timed.copies_ms()]
        both = f"of dense {spreads[0]}, of pruned {spreads[1]}{_in_float(report)}"
        yield "copies", f"{both}, each compiled twice in each process"
    yield "on", f"{timed.evidence.device}, {_versions(report)}"
    if report.corners is not None:
        yield from corners.facts(report.corners)
    if runtimes is not None:
        yield from of_runtimes.facts(runtimes)
    dense, pruned = timed.dense_launch, timed.pruned_launch
    if dense is not None and pruned is not None:
        eager = f"kernel by kernel {milliseconds(dense.eager_ms)} → {milliseconds(pruned.eager_ms)}"
        way = change(dense.way, pruned.way)
        yield "started as", f"{way}; {eager}; the layers below are profiled kernel by kernel"
    for each in report.baselines:
        said = f"{UNKNOWN}, {each.evidence.reason}"
        if each.dense_ms is not None:
            said = f"{milliseconds(each.dense_ms)}, so pruned with {request.toolchain} it is {speed(each.speed)}"
            spread = interval(each.speed)
            said += f" ({spread})" if spread else ""
        yield "against", f"dense with {each.toolchain}: {said}"
    if rival is not None and rival.dense_ms is not None:
        gain = f"{rival.dense_ms / timed.dense_ms:.2f}x"
        swap = f"dense, {milliseconds(rival.dense_ms)} with {rival.toolchain} → {milliseconds(timed.dense_ms)}"
        yield "of that", f"the runtime alone gives {gain} ({swap}); pruning on top of it is {speed(timed.comparison)}"


def _kept(report: Report) -> Iterator[tuple[str, str]]:
    totals, check, scores = report.totals, report.check, report.scores
    if report.energy is not None:
        yield "energy", _energy(report.energy)
    if report.counters is not None:
        yield "counters", _counters(report, report.counters)
    if report.hotspots is not None:
        yield "functions", _functions(report.hotspots)
    if report.blockwise is not None:
        yield from blockwise.facts(report.blockwise)
    yield "weights", removed(totals.weights, totals.pruned_weights)
    yield from _of_layers(report)
    if report.timed is not None:
        yield from _footprint(report)
    if report.peak_memory is not None:
        peaks = sizes(report.peak_memory.dense_bytes, report.peak_memory.pruned_bytes)
        yield "peak memory", f"{peaks}, of a process that runs the file, above its libraries{_in_float(report)}"
    if totals.macs is not None and totals.pruned_macs is not None:
        yield "layer MACs", removed(totals.macs, totals.pruned_macs) + _where_macs_went(report)
    if check is not None:
        errors = f"{check.dense_error:.0e} (dense) and {check.pruned_error:.0e} (pruned){_in_float(report)}"
        yield "outputs", f"those of {check.reference} within {errors}; tolerance {check.tolerance:g}"
    if report.request.schedule != "one-shot":
        yield "trained", f"after each of {counted(report.request.steps, 'step')}, {report.request.schedule}"
    if report.recovered is not None:
        yield "recovered", _recovered(report.recovered)
    if scores is not None:
        said = f"{scores.dense:.4g} → {scores.pruned:.4g}{_in_float(report)}"
        yield "score", f"{said}  ({scores.expression})"
    if report.typical_speedup is not None:
        source = "from the strategy matrix (%hwprune targets); not a measurement"
        yield "typical", f"{report.typical_speedup} for this chip, {source}"


def _footprint(report: Report) -> Iterator[tuple[str, str]]:
    found = report.footprint
    if found is not None:
        said = sizes(found.dense_bytes, found.pruned_bytes)
        yield "footprint", f"{said}, the compiled models' files{_in_float(report)}"
        if memory := "; ".join(memories(found.dense, found.pruned)):
            yield "memory", memory


def _in_float(report: Report) -> str:
    """Set numbers of the float models apart where there are int8 models beside them."""
    return "" if report.fastest is None else " in float"


def _energy(found: Energy) -> str:
    dense, pruned = found.dense, found.pruned
    if dense is None or pruned is None or found.idle_mw is None:
        return _missing(found.evidence)
    spread = max(max(each.windows_mj) / min(each.windows_mj) - 1 for each in (dense, pruned))
    by = "" if found.evidence.device is None else f"; by {found.evidence.device}"
    return (
        f"{three_digits(dense.total_mj)} → {three_digits(pruned.total_mj)} mJ a run of the batch, above idle "
        f"{three_digits(dense.above_idle_mj)} → {three_digits(pruned.above_idle_mj)} mJ; on average "
        f"{dense.average_mw:.0f} → {pruned.average_mw:.0f} mW, idle {found.idle_mw:.0f} mW "
        f"({len(dense.windows_mj)} windows of {dense.window_s:.1f} s each, apart by up to {100 * spread:.1f} %{by})"
    )


def _counters(report: Report, source: Evidence) -> str:
    if source.kind != "measured":
        return _missing(source)
    known = [layer.counters for layer in report.layers if layer.counters is not None]
    sparse = sum(each.sparse > 0 for each in known)
    return f"sparse operations in {sparse} of {counted(len(known), 'layer')} ({source.device})"


def _functions(found: Hotspots) -> str:
    """Name the functions that take the most CPU time in a run of each model."""
    if not found.rows:
        return _missing(found.evidence)
    sides = []
    for kind in ("dense", "pruned"):
        times = {row: getattr(row, f"{kind}_ms") for row in found.rows if getattr(row, f"{kind}_ms") is not None}
        first = sorted(times, key=lambda row: -times[row])[:FUNCTIONS]
        sides.append(
            f"{kind} " + ", ".join(f"{middle_cut(row.function, 40)} {milliseconds(times[row])}" for row in first)
        )
    return f"{'; '.join(sides)}: CPU time of a run, by {found.evidence.device}"


def _missing(evidence: Evidence) -> str:
    return f"{UNKNOWN}: {evidence.reason}. Cure: {evidence.cure}"


def _of_layers(report: Report) -> Iterator[tuple[str, str]]:
    """Summarise what is known of the layers, each fact only if some layer has it."""
    errors = {layer.name: layer.error for layer in report.layers if layer.error is not None}
    if errors:
        worst = max(errors, key=lambda name: errors[name])
        middle, most = (f"{three_digits(100 * each)} %" for each in (median(errors.values()), errors[worst]))
        said = f"median {middle}, worst {most} in {middle_cut(worst, 40)}"
        yield "layer error", f"{said}: squared, relative to the layer's own output on the calibration inputs"
    if report.sensitivity is not None:  # the model is most sensitive to the layers that lose the least
        shares = {layer.name: layer.sparsity for layer in report.layers}
        scanned = sorted((curve.layer for curve in report.sensitivity.curves), key=lambda name: shares.get(name, 0.0))
        named = ", ".join(f"{middle_cut(name, 40)} {share(shares.get(name, 0.0))}" for name in scanned[:4])
        yield "sensitivity", f"each layer was scanned alone by its {report.sensitivity.measure}; least goes of {named}"
    served = Counter(layer.served_by for layer in report.layers if layer.served_by is not None)
    if served:
        numbers = (f"{counted(number, 'layer')} by {served_by(those)}" for those, number in served.items())
        yield "served", "; ".join(numbers)
    found = [layer.compressed for layer in report.layers if layer.compressed is not None]
    if found:
        said = sizes(sum(each.dense_bytes for each in found), sum(each.compressed_bytes for each in found))
        layers = counted(len(report.layers), "layer")
        of = f"{len(found)} of {layers}" if len(found) < len(report.layers) else "all layers"
        yield "compressed", f"{said} in {of}, by torch's own 2:4 compression on the CPU"


def _recovered(found: Recovered) -> str:
    """Say what a recovery without labels did; the final score is a fact of its own."""
    how = f"by {counted(found.steps, 'step')} without labels on {counted(found.rows, 'row')} in {found.seconds:.1f} s"
    before = "" if found.score_before is None else f"; the score before was {found.score_before:.4g}"
    if not found.kept:
        return f"not {how}: the loss, {found.first_loss:.3g}, did not fall, so the weights stayed as they were{before}"
    return f"{how}: loss {found.first_loss:.3g} → {found.last_loss:.3g}, 0 for the dense model{before}"


def _where_macs_went(report: Report) -> str:
    """Say whether multiply-accumulates are gone, or still multiply zeros."""
    if not report.layers or any(layer.shape != layer.pruned_shape for layer in report.layers):
        return ""
    if any(layer.used for layer in report.layers):
        return ", the others on zeros, which the sparse kernels skip and dense ones multiply"
    return ", the others on zeros, which a dense kernel still multiplies"


def _versions(report: Report) -> str:
    return ", ".join(f"{name} {value}" for name, value in report.versions.items() if name not in {"python", "numpy"})


def returned(report: Report) -> Iterator[str]:
    """List the layers that got their dense weights back, each with its reason."""
    for layer in report.returned:
        rows = "" if layer.rows is None else f" ({layer.rows} rows)"
        yield f"{name(layer, 60)}{rows}: {layer.reason}"


def left_dense(skipped: Sequence[Skipped]) -> list[str]:
    """Group the layers that were left dense by reason."""
    by_reason: dict[str, list[str]] = {}
    for layer in skipped:
        by_reason.setdefault(layer.reason, []).append(name(layer, 60))
    return [f"{some(names, 4)}: {reason}" for reason, names in by_reason.items()]


def some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
