"""Numbers and facts of a report as the words that every renderer shows, so that text and page say the same."""

from __future__ import annotations

import ast
import math
from statistics import median

from ..errors import counted
from ..options import OPTIONS, magic_line
from ..report import Comparison, Estimated, Layer, Report, Returned, Skipped, Timed, Utilization, best_baseline

UNKNOWN = "not measured"
UTILIZATION = (
    "After a kernel: the layer's dense arithmetic by its time, as a share of the core's peak. Far above 100 % it left "
    "arithmetic out; Winograd's convolutions do so too."
)


def count(number: float | None) -> str:
    """1234567 -> 1.23 M."""
    if number is None:
        return UNKNOWN
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def share(number: float) -> str:
    return f"{number:.0%}".replace("%", " %")


def removed(before: float, after: float) -> str:
    """Say what is gone, e.g. 25.6 M -> 6.9 M (-73 %)."""
    gone = f" (-{share(1 - after / before)})" if before and after < before else ""
    return f"{count(before)} → {count(after)}{gone}"


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{_three_digits(value)} ms"


def microseconds(value: float | None) -> str:
    return UNKNOWN if value is None else _three_digits(value)


def _three_digits(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.23, 123, 1234."""
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{decimals}f}"


def headline(report: Report) -> str:
    comparison, measurement = report.deciding, report.measurement
    if isinstance(measurement, Estimated):
        return f"estimated {measurement.ratio:.2f}x"
    if comparison.speedup is None:
        return "compiled, not timed" if measurement.evidence.kind == "compiled" else "NOT MEASURED"
    said = f"{comparison.verdict.upper()} {comparison.speedup:.2f}x"
    rival = best_baseline(report.baselines)
    if rival is not None and comparison is rival.speed:
        said += f" against dense with {rival.toolchain}"
    return said


def interval(comparison: Comparison) -> str | None:
    if comparison.low is None or comparison.high is None or comparison.noise_floor is None:
        return None
    return (
        f"95 % interval {comparison.low:.2f} to {comparison.high:.2f}, noise floor {100 * comparison.noise_floor:.1f} %"
    )


def what(report: Report) -> str:
    request = report.request
    dtype = f", {request.dtype}" if not request.on_host and request.dtype else ""
    by = "" if request.importance in {"magnitude", "recipe"} else f" by {request.importance}"
    pattern = f"{request.pattern} at {share(request.sparsity)}{by}"
    return f"{request.model} for {request.target}, {pattern}, {request.toolchain}{dtype}"


def facts(report: Report) -> list[tuple[str, str]]:
    """Return the report's whole-model facts as (name, words), in the order to read them."""
    measurement, request = report.measurement, report.request
    rows: list[tuple[str, str]] = []
    if isinstance(measurement, Timed):
        clock = "process-CPU time" if measurement.clock == "cpu" else "wall time"
        rounds = len(measurement.dense.cpu_ms)
        how = f"{request.threads} thread{'s' if request.threads > 1 else ''}" if request.on_host else request.dtype
        rows.append(("time", f"{milliseconds(measurement.dense_ms)} → {milliseconds(measurement.pruned_ms)}"))
        rows.append(("measured", f"{clock} of a batch of {request.batch}, {how}, {rounds} interleaved rounds"))
        rows.append(("on", f"{measurement.evidence.device}, {versions(report)}"))
        rows += launches(report)
        rows += baselines(report)
    else:
        if isinstance(measurement, Estimated):
            before, after = (f"{count(each)} {measurement.unit}" for each in (measurement.dense, measurement.pruned))
            rows.append(("estimate", f"{before} → {after} a batch, by {measurement.evidence.device}'s own cost model"))
        elif measurement.evidence.kind == "compiled":
            rows.append(("compiled", f"for {measurement.evidence.device}, {versions(report)}"))
        rows.append(("not measured", measurement.evidence.reason or ""))
        rows.append(("cure", measurement.evidence.cure or "none known"))
        if not request.on_host:
            rows.append(("the line", f"{line(report)}; then `%hwprune merge` joins its report with this one"))
    rows += energy(report)
    rows += counters(report)
    rows.append(("weights", removed(report.totals.weights, report.totals.pruned_weights)))
    rows += layer_errors(report)
    rows += most_sensitive(report)
    rows += served(report)
    rows += compressed(report)
    if report.totals.macs is not None and report.totals.pruned_macs is not None:
        rows.append(("layer MACs", removed(report.totals.macs, report.totals.pruned_macs) + _where_macs_went(report)))
    if report.check is not None:
        errors = f"{report.check.dense_error:.0e} (dense) and {report.check.pruned_error:.0e} (pruned)"
        rows.append(
            ("outputs", f"those of {report.check.reference} within {errors}; tolerance {report.check.tolerance:g}")
        )
    if request.schedule != "one-shot":
        rows.append(("trained", f"after each of {counted(request.steps, 'step')}, {request.schedule}"))
    if report.scores is not None:
        rows.append(("score", f"{report.scores.dense:.4g} → {report.scores.pruned:.4g}  ({report.scores.expression})"))
    if report.typical_speedup is not None:
        rows.append(("guide", f"expects {report.typical_speedup} of this chip; that is not a measurement"))
    return rows


def baselines(report: Report) -> list[tuple[str, str]]:
    """Set the pruned model beside the dense one in the runtimes that a user has anyway."""
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


def line(report: Report) -> str:
    """Return the line that asks for this very run again, on a machine that can measure it."""
    request, recipe = report.request, report.request.recipe
    asked = {name: getattr(request, name) for name in OPTIONS if hasattr(request, name)}
    asked |= {"model": request.model, "target": f"{request.target}:{request.toolchain}", "toolchain": None}
    if recipe is not None:  # which decides the method itself
        asked |= dict.fromkeys(("pattern", "sparsity", "importance", "allocation")) | {"recipe": recipe.name}
    asked |= {"eval": _score(report), "variable": "run"}
    return magic_line(asked, cell=request.schedule != "one-shot")  # the same cell goes under it


def _score(report: Report) -> str | None:
    """Return the score as an expression; None where there is none, or it was a function without a name."""
    if report.scores is None:
        return None
    try:
        ast.parse(report.scores.expression, mode="eval")
    except SyntaxError:
        return None
    return report.scores.expression


def launches(report: Report) -> list[tuple[str, str]]:
    """Say how an accelerator's kernels were started, and what it costs to start them one by one."""
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
    said = (
        f"{_three_digits(dense.total_mj)} → {_three_digits(pruned.total_mj)} mJ a run of the batch, above idle "
        f"{_three_digits(dense.above_idle_mj)} → {_three_digits(pruned.above_idle_mj)} mJ; on average "
        f"{dense.average_mw:.0f} → {pruned.average_mw:.0f} mW, idle {found.idle_mw:.0f} mW "
        f"({len(dense.windows_mj)} windows of {dense.window_s:.1f} s each, apart by up to {100 * spread:.1f} %)"
    )
    return [("energy", said)]


def counters(report: Report) -> list[tuple[str, str]]:
    """Say what the hardware counters showed; nothing where none were asked for."""
    if report.counters is None:
        return []
    if report.counters.kind != "measured":
        return [("counters", f"{UNKNOWN}: {report.counters.reason}. Cure: {report.counters.cure}")]
    known = [layer.counters for layer in report.layers if layer.counters is not None]
    sparse = sum(each.sparse > 0 for each in known)
    said = f"sparse Tensor Core operations in {sparse} of {counted(len(known), 'layer')} ({report.counters.device})"
    return [("counters", said)]


def layer_errors(report: Report) -> list[tuple[str, str]]:
    """Say what the layers' outputs lost by themselves, where a solver told."""
    errors = {layer.name: layer.error for layer in report.layers if layer.error is not None}
    if not errors:
        return []
    worst = max(errors, key=lambda name: errors[name])
    middle, most = (f"{_three_digits(100 * each)} %" for each in (median(errors.values()), errors[worst]))
    said = f"median {middle}, worst {most} in {middle_cut(worst, 40)}"
    return [("layer error", f"{said}: squared, relative to the layer's own output on the calibration inputs")]


def most_sensitive(report: Report) -> list[tuple[str, str]]:
    """Name the layers that the model can least do without, where they were scanned."""
    if report.sensitivity is None:
        return []
    shares = {layer.name: layer.sparsity for layer in report.layers}
    least = sorted(report.sensitivity.curves, key=lambda curve: shares.get(curve.layer, 0.0))[:4]
    named = ", ".join(f"{middle_cut(curve.layer, 40)} {share(shares.get(curve.layer, 0.0))}" for curve in least)
    return [("sensitivity", f"each layer was scanned alone by its {report.sensitivity.measure}; least goes of {named}")]


def served(report: Report) -> list[tuple[str, str]]:
    """Say which of the target's toolchains have a kernel for the pattern in how many layers."""
    names: dict[tuple[str, ...], int] = {}
    for layer in report.layers:
        if layer.served_by is not None:
            names[layer.served_by] = names.get(layer.served_by, 0) + 1
    said = [f"{counted(number, 'layer')} by {' and '.join(those) or 'none'}" for those, number in names.items()]
    return [("served", "; ".join(said))] if said else []


def compressed(report: Report) -> list[tuple[str, str]]:
    """Say what the pruned layers take in memory, by torch's own compression."""
    sizes = [layer.compressed for layer in report.layers if layer.compressed is not None]
    if not sizes:
        return []
    before, after = sum(size.dense_bytes for size in sizes), sum(size.compressed_bytes for size in sizes)
    of = f"{len(sizes)} layers" if len(sizes) == len(report.layers) else f"{len(sizes)} of {len(report.layers)} layers"
    return [("compressed", f"{count(before)}B → {count(after)}B in {of}, by torch's own 2:4 compression on the CPU")]


def returned(report: Report) -> list[str]:
    """Gather the layers that went back to dense by their reason."""
    return [f"{name(layer, 60)}{_rows(layer.rows)}: {layer.reason}" for layer in report.returned]


def _rows(rows: int | None) -> str:
    return "" if rows is None else f" ({rows} rows)"


def _where_macs_went(report: Report) -> str:
    """Say whether multiply-accumulates are gone, or only have a zero to multiply."""
    if not report.layers or any(layer.shape != layer.pruned_shape for layer in report.layers):
        return ""
    if any(layer.used for layer in report.layers):
        return ", the others on zeros, which the sparse kernels skip and dense ones multiply"
    return ", the others on zeros, which a dense kernel multiplies all the same"


def versions(report: Report) -> str:
    shown = {name: value for name, value in report.versions.items() if name not in {"python", "numpy"}}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def yes_no(value: bool | None) -> str:
    return UNKNOWN if value is None else "yes" if value else "no"


def speed(comparison: Comparison) -> str:
    if comparison.speedup is None:
        return UNKNOWN
    return (
        "within noise"
        if comparison.verdict == "no measurable gain"
        else f"{comparison.verdict} {comparison.speedup:.2f}x"
    )


def name(layer: Layer | Skipped | Returned, width: int) -> str:
    """Return the layer's name cut to a width; a model that is a layer itself has no name, so its kind."""
    return middle_cut(layer.name or layer.kind, width)


def middle_cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width // 2 - 1] + "…" + text[-(width // 2) :]


def valid(layer: Layer) -> str:
    return "yes" if layer.valid else f"{share(layer.valid_groups)} of groups"


def shapes(layer: Layer) -> str:
    before, after = ("x".join(map(str, shape)) for shape in (layer.shape, layer.pruned_shape))
    return before if before == after else f"{before} → {after}"


def kernels(layer: Layer) -> str:
    if layer.kernel is None and layer.pruned_kernel is None:
        return UNKNOWN
    shares = layer.utilization or Utilization(None, None)
    before = _with_utilization(layer.kernel, shares.dense)
    after = _with_utilization(layer.pruned_kernel, shares.pruned)
    return before if before == after else f"{before} → {after}"


def _with_utilization(kernel: str | None, utilization: float | None) -> str:
    """Name a kernel, with its dense arithmetic by its time as a share of the core's peak where that is known."""
    if kernel is None:
        return UNKNOWN
    return kernel if utilization is None else f"{kernel} at {share(utilization)}"


def other_kernels(report: Report) -> str | None:
    """Return the time of the kernels that belong to no pruned layer, or None where none was seen."""
    if report.other_kernels is None:
        return None
    times = (report.other_kernels.dense_us, report.other_kernels.pruned_us)
    if times == (None, None):
        return None
    dense, pruned = (UNKNOWN if us is None else f"{microseconds(us)} µs" for us in times)
    return f"{dense} → {pruned}"


def left_dense(skipped: tuple[Skipped, ...]) -> list[str]:
    """Gather the layers that were left dense by their reason."""
    by_reason: dict[str, list[str]] = {}
    for layer in skipped:
        by_reason.setdefault(layer.reason, []).append(name(layer, 60))
    return [f"{some(names)}: {reason}" for reason, names in by_reason.items()]


def some(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def by_weight(report: Report) -> list[Layer]:
    """Return the layers, the most costly first: by dense time, or by MACs where a layer has no time of its own."""
    timed = all(layer.dense_us is not None for layer in report.layers)
    return sorted(report.layers, key=lambda layer: (layer.dense_us if timed else layer.macs) or 0, reverse=True)
