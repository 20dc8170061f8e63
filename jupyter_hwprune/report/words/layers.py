"""The layers in words: one column per question, one cell per layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from .numbers import UNKNOWN, count, microseconds, middle_cut, share, sizes, three_digits
from .verdict import speed

if TYPE_CHECKING:
    from .. import Layer, Report, Returned, Skipped

Shown = Literal["weight", "removed", "macs", "time", "valid", "used", "faster", "kernel"]  # in a table
More = Literal["alone", "served", "counters", "compressed", "error"]  # only if some layer has a value
Key = Literal[Shown, More]

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
        ("macs", "MACs", lambda layer: f"{count(layer.macs)} → {count(layer.pruned_macs)}"),
        ("time", _time_head(report), _estimate if report.measurement.kind == "estimated" else _times),
        ("valid", "valid", valid),
        ("used", "used", lambda layer: _yes_no(layer.used)),
        ("faster", "faster", lambda layer: speed(layer.speed)),
        ("kernel", "kernel", kernels),
        ("alone", "alone", _alone),
        ("served", "served by", _served),
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
    if (others := other_kernels(report)) is not None:
        yield f"Kernels of no pruned layer: {others}."
    if any(layer.utilization is not None for layer in report.layers):
        yield UTILIZATION


def _time_head(report: Report) -> str:
    """Name the unit, and the source of the numbers unless the model itself was measured."""
    measurement = report.measurement
    if measurement.kind == "estimated":
        return f"estimate, {measurement.unit}"
    kinds = sorted({layer.evidence for layer in report.layers if layer.evidence and layer.dense_us is not None})
    return "time, µs" if kinds in ([], ["measured"]) else f"time, µs ({', '.join(kinds)})"


def _times(layer: Layer) -> str:
    if layer.dense_us is None and layer.pruned_us is None:
        return UNKNOWN
    return f"{microseconds(layer.dense_us)} → {microseconds(layer.pruned_us)}"


def _estimate(layer: Layer) -> str:
    return "none" if layer.estimate is None else f"{count(layer.estimate.dense)} → {count(layer.estimate.pruned)}"


def _yes_no(value: bool | None) -> str:
    return UNKNOWN if value is None else "yes" if value else "no"


def name(layer: Layer | Skipped | Returned, width: int) -> str:
    """Return the layer's name cut to a width; if the model itself is the layer and has no name, its kind."""
    return middle_cut(layer.name or layer.kind, width)


def valid(layer: Layer) -> str:
    return "yes" if layer.valid else f"{share(layer.valid_groups)} of groups"


def shapes(layer: Layer) -> str:
    before, after = ("x".join(map(str, shape)) for shape in (layer.shape, layer.pruned_shape))
    return before if before == after else f"{before} → {after}"


def kernels(layer: Layer) -> str:
    if layer.kernel is None and layer.pruned_kernel is None:
        return UNKNOWN
    dense, pruned = (None, None) if layer.utilization is None else (layer.utilization.dense, layer.utilization.pruned)
    before, after = _with_utilization(layer.kernel, dense), _with_utilization(layer.pruned_kernel, pruned)
    return before if before == after else f"{before} → {after}"


def _with_utilization(kernel: str | None, utilization: float | None) -> str:
    """Name a kernel, with its utilization as a share of the core's peak if known."""
    if kernel is None:
        return UNKNOWN
    return kernel if utilization is None else f"{kernel} at {share(utilization)}"


def _alone(layer: Layer) -> str:
    if layer.alone is None:
        return ""
    return speed(layer.alone) + ("" if layer.rows is None else f" on {layer.rows} rows")


def _served(layer: Layer) -> str:
    return "" if layer.served_by is None else " and ".join(layer.served_by) or "none"


def _counters(layer: Layer) -> str:
    found = layer.counters
    return "" if found is None else f"{found.sparse:g} sparse and {found.dense:g} dense operations"


def _compressed(layer: Layer) -> str:
    size = layer.compressed
    return "" if size is None else sizes(size.dense_bytes, size.compressed_bytes)


def other_kernels(report: Report) -> str | None:
    """Return the time of the kernels that belong to no pruned layer; None if none was profiled."""
    if report.other_kernels is None:
        return None
    times = (report.other_kernels.dense_us, report.other_kernels.pruned_us)
    if times == (None, None):
        return None
    dense, pruned = (UNKNOWN if us is None else f"{microseconds(us)} µs" for us in times)
    return f"{dense} → {pruned}"


def by_weight(report: Report) -> list[Layer]:
    """Return the layers, the most costly first: by time or estimate, or by MACs if some layer has neither."""
    timed = all(layer.dense_us is not None for layer in report.layers)
    estimated = all(layer.estimate is not None for layer in report.layers)

    def cost(layer: Layer) -> float:
        estimate = layer.estimate.dense if estimated and layer.estimate is not None else None
        return (layer.dense_us if timed else estimate if estimated else layer.macs) or 0

    return sorted(report.layers, key=cost, reverse=True)


def rows(report: Report, columns: Sequence[Column]) -> list[tuple[Layer, dict[Key, str]]]:
    """Return each layer with its cells, the most costly first."""
    places = {id(layer): index for index, layer in enumerate(report.layers)}
    return [(layer, {column.key: column.cells[places[id(layer)]] for column in columns}) for layer in by_weight(report)]
