"""The layers in words: one column per question, one cell per layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from .numbers import UNKNOWN, change, count, microseconds, middle_cut, share, sizes, three_digits
from .verdict import speed

if TYPE_CHECKING:
    from .. import Layer, Memory, Report, Returned, Skipped

Shown = Literal["weight", "removed", "macs", "time", "valid", "used", "faster", "kernel"]  # in a table
More = Literal["memory", "alone", "served", "counters", "compressed", "error"]  # only if some layer has a value
Key = Literal[Shown, More]

CLOCKS = (
    "Layers are timed by the runtime's profiler in wall time, and the whole model in process-CPU time: where other "
    "programs run beside it, the layers add up to more."
)
MEMORY = {"weight_bytes": "weights as packed", "sram_bytes": "peak SRAM", "traffic_bytes": "off-chip traffic"}
A_LITTLE = 0.05  # by which rounding to whole channels may differ
BOTH_SIDES = (
    "A layer loses the channels that it makes and those that it reads: where {asked} of both go, so do {gone} of its "
    "weights."
)
UTILIZATION = (
    "After a kernel: the layer's dense arithmetic divided by its time, as a share of the core's peak. Far above 100 %, "
    "a kernel skipped arithmetic, as Winograd convolutions do."
)


@dataclass(frozen=True)
class Column:
    """One column of the layer table: a cell for each of the report's layers in order; "" is an empty cell."""

    key: Key
    name: str
    cells: tuple[str, ...]


def columns(report: Report) -> Iterator[Column]:
    said: tuple[tuple[Key, str, Callable[[Layer], str]], ...] = (
        ("weight", "weight", shapes),
        ("removed", "removed", lambda layer: share(layer.sparsity)),
        ("macs", "MACs", _macs),
        ("time", _time_head(report), _estimate if report.measurement.kind == "estimated" else _times),
        ("valid", "valid", valid),
        ("used", "used", lambda layer: UNKNOWN if layer.used is None else "yes" if layer.used else "no"),
        ("faster", "faster", _faster),
        ("kernel", "kernel", kernels),
        ("memory", "memory", _memory),
        ("alone", "alone", _alone),
        ("served", "served by", lambda layer: "" if layer.served_by is None else served_by(layer.served_by)),
        ("counters", "counters", _counters),
        ("compressed", "compressed", _compressed),
        ("error", "layer error", lambda layer: "" if layer.error is None else f"{three_digits(100 * layer.error)} %"),
    )
    for key, name, cell in said:
        cells = tuple(map(cell, report.layers))
        if key in get_args(Shown) or any(cells):
            yield Column(key, name, cells)


def notes(report: Report) -> Iterator[str]:
    """Explain what the columns do not show."""
    asked = report.request.sparsity
    if "channel" in report.request.pattern and any(layer.sparsity > asked + A_LITTLE for layer in report.layers):
        yield BOTH_SIDES.format(asked=share(asked), gone=share(1 - (1 - asked) ** 2))
    others = report.other_kernels
    if others is not None and (others.dense_us, others.pruned_us) != (None, None):
        times = (UNKNOWN if us is None else f"{microseconds(us)} µs" for us in (others.dense_us, others.pruned_us))
        yield f"Kernels of no pruned layer: {' → '.join(times)}."
    timed = report.timed
    if timed is not None and timed.clock == "cpu" and any(layer.dense_us is not None for layer in report.layers):
        yield CLOCKS
    if any(layer.utilization is not None for layer in report.layers):
        yield UTILIZATION


def _time_head(report: Report) -> str:
    """Name the unit, and the source of the numbers unless the model itself was measured."""
    measurement = report.measurement
    if measurement.kind == "estimated":
        return f"estimate, {measurement.unit}"
    kinds = sorted({layer.evidence for layer in report.layers if layer.evidence and layer.dense_us is not None})
    return "time, µs" if kinds in ([], ["measured"]) else f"time, µs ({', '.join(kinds)})"


def _macs(layer: Layer) -> str:
    if layer.macs is None or layer.pruned_macs is None:
        return UNKNOWN
    return f"{count(layer.macs)} → {count(layer.pruned_macs)}"


def _faster(layer: Layer) -> str:
    """Say the layer's verdict; one profile of both times gives none."""
    profiled = layer.speed.speedup is None and layer.dense_us is not None and layer.pruned_us is not None
    return "no verdict" if profiled else speed(layer.speed)


def _times(layer: Layer) -> str:
    if layer.dense_us is None or layer.pruned_us is None:
        return UNKNOWN
    return f"{microseconds(layer.dense_us)} → {microseconds(layer.pruned_us)}"


def _estimate(layer: Layer) -> str:
    return "none" if layer.estimate is None else f"{count(layer.estimate.dense)} → {count(layer.estimate.pruned)}"


def _memory(layer: Layer) -> str:
    return (
        "" if layer.estimate is None else "; ".join(memories(layer.estimate.dense_memory, layer.estimate.pruned_memory))
    )


def memories(dense: Memory | None, pruned: Memory | None) -> Iterator[str]:
    """Say what both take of the chip's memory, as far as the compiler tells."""
    for field, said in MEMORY.items():
        before, after = (getattr(each, field, None) for each in (dense, pruned))
        if before is not None and after is not None:
            yield f"{said} {sizes(before, after)}"


def name(layer: Layer | Skipped | Returned, width: int | None = None) -> str:
    """Return the layer's name, cut to a width; with its kind where it has none, or one of numbers alone, as 2.0."""
    says_nothing = not layer.name.strip("0123456789.")
    full = f"{layer.name} {layer.kind}".strip() if says_nothing else layer.name
    return full if width is None else middle_cut(full, width)


def valid(layer: Layer) -> str:
    return "yes" if layer.valid else f"{share(layer.valid_groups)} of groups"


def shapes(layer: Layer) -> str:
    return change(*("x".join(map(str, shape)) for shape in (layer.shape, layer.pruned_shape)))


def kernels(layer: Layer) -> str:
    reached = layer.utilization
    dense, pruned = (None, None) if reached is None else (reached.dense, reached.pruned)
    return change(_with_utilization(layer.kernel, dense), _with_utilization(layer.pruned_kernel, pruned))


def _with_utilization(kernel: str | None, utilization: float | None) -> str:
    """Name a kernel, with its utilization as a share of the core's peak if known."""
    if kernel is None:
        return UNKNOWN
    return kernel if utilization is None else f"{kernel} at {share(utilization)}"


def _alone(layer: Layer) -> str:
    if layer.alone is None:
        return ""
    return speed(layer.alone) + ("" if layer.rows is None else f" on {layer.rows} rows")


def served_by(toolchains: tuple[str, ...]) -> str:
    return " and ".join(toolchains) or "none"


def _counters(layer: Layer) -> str:
    found = layer.counters
    return "" if found is None else f"{found.sparse:g} sparse and {found.dense:g} dense operations"


def _compressed(layer: Layer) -> str:
    size = layer.compressed
    return "" if size is None else sizes(size.dense_bytes, size.compressed_bytes)


def by_weight(report: Report) -> list[Layer]:
    """Return the layers, the most costly first: by time or estimate, or by MACs if some layer has neither."""
    timed = all(layer.dense_us is not None for layer in report.layers)
    estimated = all(layer.estimate is not None for layer in report.layers)

    def cost(layer: Layer) -> float:
        estimate = layer.estimate and layer.estimate.dense
        return (layer.dense_us if timed else estimate if estimated else layer.macs) or 0

    return sorted(report.layers, key=cost, reverse=True)


def rows(report: Report, columns: Sequence[Column]) -> list[tuple[Layer, dict[Key, str]]]:
    """Return each layer with its cells, the most costly first."""
    places = {id(layer): index for index, layer in enumerate(report.layers)}
    return [(layer, {column.key: column.cells[places[id(layer)]] for column in columns}) for layer in by_weight(report)]
