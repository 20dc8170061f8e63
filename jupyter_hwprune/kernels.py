"""From a profile's kernels to layers: each kernel's time given to the torch layer that it carries out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from .export import WEIGHT_OPS
from .judge import compare
from .report import NOT_COMPARED, Layer, OtherKernels, Utilization


class Case(Protocol):
    """A model written for a toolchain: an ONNX file, or a torch program."""

    @property
    def model(self) -> Path: ...
    @property
    def inputs(self) -> Path: ...
    @property
    def input_names(self) -> tuple[str, ...]: ...
    @property
    def expected(self) -> Path: ...
    def layers_of(self, names: list[str], op: str) -> list[str]: ...


@dataclass
class _LayerTime:
    """The kernels of one layer in one case: the name of its product, or else of its first; each round's sum."""

    kernel: str
    op: str
    sparse: bool | None
    us: list[float]
    utilization: float | None


def layers_with_kernels(
    layers: tuple[Layer, ...], kernels: dict[str, Any], exported: Mapping[str, Case], *, channels: bool
) -> tuple[tuple[Layer, ...], OtherKernels]:
    """Give each layer its kernels and their times; what belongs to no pruned layer is summed up beside them."""
    names = {layer.name for layer in layers}
    by_case = {
        case: _by_layer(rows, exported["dense" if case == "control" else case]) for case, rows in kernels.items()
    }
    filled = []
    for layer in layers:
        dense, control, pruned = (by_case[case].get(layer.name) for case in ("dense", "control", "pruned"))
        filled.append(
            replace(
                layer,
                kernel=dense.kernel if dense else None,
                pruned_kernel=pruned.kernel if pruned else None,
                dense_us=_median(dense.us) if dense else None,
                pruned_us=_median(pruned.us) if pruned else None,
                used=(channels or pruned.sparse) if pruned else None,
                utilization=_utilization(dense, pruned),
                speed=compare(dense.us, control.us, pruned.us) if dense and control and pruned else NOT_COMPARED,
                evidence="measured" if dense or pruned else None,
            )
        )
    others = {
        case: _median([sum(round_us) for round_us in zip(*rest, strict=True)])
        for case, by_layer in by_case.items()
        if (rest := [time.us for name, time in by_layer.items() if name not in names and time.us]) is not None
    }
    return tuple(filled), OtherKernels(others["dense"], others["pruned"])


def _by_layer(rows: list[Any], exported: Case) -> dict[str | None, _LayerTime]:
    """Sum the kernels of each layer, and under None those of no layer.

    The time of a kernel that carries out several layers cannot be shared out: the first has it, the others name it.
    """
    found: dict[str | None, _LayerTime] = {}
    for row in rows:
        layers = exported.layers_of(row["names"], row["op"])
        first, others = (layers[0] if layers else None), layers[1:]
        if first not in found:
            found[first] = _LayerTime(row["kernel"], row["op"], row["sparse"], list(row["us"]), row.get("utilization"))
        else:
            known = found[first]
            known.us = [a + b for a, b in zip(known.us, row["us"], strict=True)] if known.us else list(row["us"])
            known.sparse = known.sparse or (None if None in {known.sparse, row["sparse"]} else row["sparse"])
            if row["op"] in WEIGHT_OPS and known.op not in WEIGHT_OPS:
                known.kernel, known.op, known.utilization = row["kernel"], row["op"], row.get("utilization")
        for other in others:
            said = f"{row['kernel']}, in one with {first}"
            found.setdefault(other, _LayerTime(said, row["op"], row["sparse"], [], row.get("utilization")))
    return found


def _utilization(dense: _LayerTime | None, pruned: _LayerTime | None) -> Utilization | None:
    before, after = (
        None if each is None or each.utilization is None else float(f"{each.utilization:.3g}")
        for each in (dense, pruned)
    )
    return None if before is None and after is None else Utilization(before, after)


def _median(values: list[float]) -> float | None:
    """Return the median, or None where there is none, or where it is below what the profiler's clock can tell."""
    return float(f"{statistics.median(values):.5g}") or None if values else None
