"""Facts of the whole model as names and words, in the order to read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from ...core.errors import counted
from .layers import name
from .line import line
from .numbers import UNKNOWN, count, middle_cut, milliseconds, removed, share, sizes, three_digits
from .verdict import estimator, interval, speed

if TYPE_CHECKING:
    from .. import Report, Skipped, Timed


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
    if measurement.kind == "timed":
        yield from _timed(report, measurement)
        return
    evidence = measurement.evidence
    if measurement.kind == "estimated":
        before, after = (f"{count(each)} {measurement.unit}" for each in (measurement.dense, measurement.pruned))
        yield "estimate", f"{before} → {after} for a batch of {report.request.batch}"
        yield "by", f"the cost model of {estimator(report)}, {versions(report)}; nothing ran on the chip"
        yield from footprint(report)
        if evidence.reason is not None:
            yield "not timed", evidence.reason
    elif evidence.kind == "compiled":
        yield "compiled", f"by {report.request.toolchain} for {evidence.device or report.chip}, {versions(report)}"
        yield from footprint(report)
        yield "not timed", evidence.reason or "no reason was given"
    else:
        yield "not measured", evidence.reason or ""
    if evidence.reason is not None or measurement.kind == "untimed":
        yield "cure", evidence.cure or "none known"
    if not report.request.on_host:
        yield "the line", f"`{line(report)}`; then `%hwprune merge` joins its report with this one"


def _timed(report: Report, timed: Timed) -> Iterator[tuple[str, str]]:
    request = report.request
    clock = "process-CPU time" if timed.clock == "cpu" else "wall time"
    how = counted(request.threads, "thread") if request.on_host else request.dtype
    yield "time", f"{milliseconds(timed.dense_ms)} → {milliseconds(timed.pruned_ms)}"
    rounds = len(timed.dense.cpu_ms)
    yield "measured", f"{clock} of a batch of {request.batch}, {how}, {rounds} interleaved rounds"
    yield "on", f"{timed.evidence.device}, {versions(report)}"
    yield from launches(report)
    yield from baselines(report)


def _kept(report: Report) -> Iterator[tuple[str, str]]:
    yield from energy(report)
    yield from counters(report)
    yield "weights", removed(report.totals.weights, report.totals.pruned_weights)
    yield from layer_errors(report)
    yield from most_sensitive(report)
    yield from served(report)
    yield from compressed(report)
    if report.timed is not None:
        yield from footprint(report)
    if report.totals.macs is not None and report.totals.pruned_macs is not None:
        yield "layer MACs", removed(report.totals.macs, report.totals.pruned_macs) + _where_macs_went(report)
    if report.check is not None:
        errors = f"{report.check.dense_error:.0e} (dense) and {report.check.pruned_error:.0e} (pruned)"
        yield "outputs", f"those of {report.check.reference} within {errors}; tolerance {report.check.tolerance:g}"
    if report.request.schedule != "one-shot":
        yield "trained", f"after each of {counted(report.request.steps, 'step')}, {report.request.schedule}"
    if report.scores is not None:
        yield "score", f"{report.scores.dense:.4g} → {report.scores.pruned:.4g}  ({report.scores.expression})"
    if report.typical_speedup is not None:
        source = "from the strategy matrix (%hwprune targets); not a measurement"
        yield "typical", f"{report.typical_speedup} for this chip, {source}"


def footprint(report: Report) -> Iterator[tuple[str, str]]:
    """Give the sizes of the compiled models' files."""
    if report.footprint is not None:
        said = sizes(report.footprint.dense_bytes, report.footprint.pruned_bytes)
        yield "footprint", f"{said}, the compiled models' files"


def baselines(report: Report) -> list[tuple[str, str]]:
    """Compare the pruned model with the dense one in the runtimes that users already have."""
    rows = []
    for each in report.baselines:
        if each.dense_ms is None:
            rows.append(("against", f"dense with {each.toolchain}: {UNKNOWN}, {each.evidence.reason}"))
            continue
        spread = interval(each.speed)
        rows.append(
            (
                "against",
                f"dense with {each.toolchain}: {milliseconds(each.dense_ms)}, so pruned with "
                f"{report.request.toolchain} it is {speed(each.speed)}" + (f" ({spread})" if spread else ""),
            )
        )
    return rows


def launches(report: Report) -> list[tuple[str, str]]:
    """Say how an accelerator's kernels were launched, and the time if launched one by one."""
    timed = report.timed
    if timed is None or timed.dense_launch is None or timed.pruned_launch is None:
        return []
    dense, pruned = timed.dense_launch, timed.pruned_launch
    way = dense.way if dense.way == pruned.way else f"{dense.way} → {pruned.way}"
    eager = f"kernel by kernel {milliseconds(dense.eager_ms)} → {milliseconds(pruned.eager_ms)}"
    return [("started as", f"{way}; {eager}; the layers below are profiled kernel by kernel")]


def energy(report: Report) -> list[tuple[str, str]]:
    found = report.energy
    if found is None:
        return []
    dense, pruned = found.dense, found.pruned
    if dense is None or pruned is None or found.idle_mw is None:
        return [("energy", f"{UNKNOWN}: {found.evidence.reason}. Cure: {found.evidence.cure}")]
    spread = max(max(each.windows_mj) / min(each.windows_mj) - 1 for each in (dense, pruned))
    by = "" if found.evidence.device is None else f"; by {found.evidence.device}"
    said = (
        f"{three_digits(dense.total_mj)} → {three_digits(pruned.total_mj)} mJ a run of the batch, above idle "
        f"{three_digits(dense.above_idle_mj)} → {three_digits(pruned.above_idle_mj)} mJ; on average "
        f"{dense.average_mw:.0f} → {pruned.average_mw:.0f} mW, idle {found.idle_mw:.0f} mW "
        f"({len(dense.windows_mj)} windows of {dense.window_s:.1f} s each, apart by up to {100 * spread:.1f} %{by})"
    )
    return [("energy", said)]


def counters(report: Report) -> list[tuple[str, str]]:
    """Summarise the hardware counters; nothing if none were read."""
    if report.counters is None:
        return []
    if report.counters.kind != "measured":
        return [("counters", f"{UNKNOWN}: {report.counters.reason}. Cure: {report.counters.cure}")]
    known = [layer.counters for layer in report.layers if layer.counters is not None]
    sparse = sum(each.sparse > 0 for each in known)
    said = f"sparse operations in {sparse} of {counted(len(known), 'layer')} ({report.counters.device})"
    return [("counters", said)]


def layer_errors(report: Report) -> list[tuple[str, str]]:
    """Summarise the errors of the layers' outputs, if a solver reported them."""
    errors = {layer.name: layer.error for layer in report.layers if layer.error is not None}
    if not errors:
        return []
    worst = max(errors, key=lambda name: errors[name])
    middle, most = (f"{three_digits(100 * each)} %" for each in (median(errors.values()), errors[worst]))
    said = f"median {middle}, worst {most} in {middle_cut(worst, 40)}"
    return [("layer error", f"{said}: squared, relative to the layer's own output on the calibration inputs")]


def most_sensitive(report: Report) -> list[tuple[str, str]]:
    """Name the layers that lose the least after a scan, because the model is most sensitive to them."""
    if report.sensitivity is None:
        return []
    shares = {layer.name: layer.sparsity for layer in report.layers}
    least = sorted(report.sensitivity.curves, key=lambda curve: shares.get(curve.layer, 0.0))[:4]
    named = ", ".join(f"{middle_cut(curve.layer, 40)} {share(shares.get(curve.layer, 0.0))}" for curve in least)
    return [("sensitivity", f"each layer was scanned alone by its {report.sensitivity.measure}; least goes of {named}")]


def served(report: Report) -> list[tuple[str, str]]:
    """Count the layers that each of the target's toolchains has a sparse kernel for."""
    names: dict[tuple[str, ...], int] = {}
    for layer in report.layers:
        if layer.served_by is not None:
            names[layer.served_by] = names.get(layer.served_by, 0) + 1
    said = [f"{counted(number, 'layer')} by {' and '.join(those) or 'none'}" for those, number in names.items()]
    return [("served", "; ".join(said))] if said else []


def compressed(report: Report) -> list[tuple[str, str]]:
    """Give the size of the pruned layers in torch's own compression."""
    found = [layer.compressed for layer in report.layers if layer.compressed is not None]
    if not found:
        return []
    said = sizes(sum(each.dense_bytes for each in found), sum(each.compressed_bytes for each in found))
    of = f"{len(found)} of {counted(len(report.layers), 'layer')}" if len(found) < len(report.layers) else "all layers"
    return [("compressed", f"{said} in {of}, by torch's own 2:4 compression on the CPU")]


def returned(report: Report) -> list[str]:
    """List the layers that got their dense weights back, each with its reason."""
    return [f"{name(layer, 60)}{_rows(layer.rows)}: {layer.reason}" for layer in report.returned]


def _rows(rows: int | None) -> str:
    return "" if rows is None else f" ({rows} rows)"


def _where_macs_went(report: Report) -> str:
    """Say whether multiply-accumulates are gone, or still multiply zeros."""
    if not report.layers or any(layer.shape != layer.pruned_shape for layer in report.layers):
        return ""
    if any(layer.used for layer in report.layers):
        return ", the others on zeros, which the sparse kernels skip and dense ones multiply"
    return ", the others on zeros, which a dense kernel still multiplies"


def versions(report: Report) -> str:
    shown = {name: value for name, value in report.versions.items() if name not in {"python", "numpy"}}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def left_dense(skipped: tuple[Skipped, ...]) -> list[str]:
    """Group the layers that were left dense by reason."""
    by_reason: dict[str, list[str]] = {}
    for layer in skipped:
        by_reason.setdefault(layer.reason, []).append(name(layer, 60))
    return [f"{some(names)}: {reason}" for reason, names in by_reason.items()]


def some(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
