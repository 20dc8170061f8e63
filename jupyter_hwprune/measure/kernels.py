"""Match the kernels of a profile, or the parts of a cost estimate, to the torch layers that they compute."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..export.cases import Case
from ..export.onnx import WEIGHT_OPS
from ..report import NOT_COMPARED, Layer, LayerEstimate, OtherKernels, Utilization
from .judge import compare, rounded


@dataclass
class _LayerTime:
    """The kernels of one layer in one case: the name of the product's (or first) kernel, the sum of each round."""

    kernel: str
    op: str
    sparse: bool | None
    us: list[float]
    utilization: float | None
    ran_on: str | None = None


def layers_with_kernels(
    layers: tuple[Layer, ...],
    kernels: Mapping[str, Any],
    cases: Mapping[str, Case],
    name: str,
    *,
    channels: bool,
    renamed: Mapping[str, str],
) -> tuple[tuple[Layer, ...], OtherKernels]:
    """Return each layer with its kernels and times in the dense case and in the one called `name`.

    Also returns the time of all kernels that belong to no pruned layer. `renamed` has the names that modules bear in
    the case called `name`; it is empty where none was renamed, and lacks those that are gone.
    """
    names = {layer.name for layer in layers}
    by_case = {case: _by_layer(kernels[case], cases[case]) for case in ("dense", "control", name)}
    filled = []
    for layer in layers:
        dense, control = (by_case[case].get(layer.name) for case in ("dense", "control"))
        pruned = by_case[name].get(own) if (own := _name_of(layer.name, renamed)) is not None else None
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
                ran_on=pruned.ran_on if pruned else None,
            )
        )
    return tuple(filled), OtherKernels(
        _others(by_case["dense"], names),
        _others(by_case[name], {own for each in names if (own := _name_of(each, renamed)) is not None}),
    )


def _name_of(layer: str, renamed: Mapping[str, str]) -> str | None:
    """Return the layer's name in the pruned model; None if it is gone there."""
    return renamed.get(layer) if renamed else layer


def layers_with_costs(
    layers: tuple[Layer, ...],
    estimates: Mapping[str, Any],
    cases: Mapping[str, Case],
    name: str,
    *,
    renamed: Mapping[str, str],
) -> tuple[Layer, ...]:
    """Return each layer with its cost by the compiler's model, in the dense case and in the one called `name`."""
    dense, pruned = (_cost_by_layer(estimates[case]["layers"], cases[case]) for case in ("dense", name))
    names = {each: own for each in dense if (own := _name_of(each, renamed)) in pruned}
    both = {each: LayerEstimate(dense[each], pruned[own]) for each, own in names.items() if own is not None}
    return tuple(
        replace(layer, estimate=both[layer.name], evidence="compiler-estimate") if layer.name in both else layer
        for layer in layers
    )


def _cost_by_layer(parts: list[Any], case: Case) -> dict[str, float]:
    """Sum the parts of an estimate by layer; leave out parts that compute several layers."""
    found: dict[str, float] = {}
    for part in parts:
        layers = case.layers_of(part["names"], part["op"])
        if len(layers) == 1:
            found[layers[0]] = found.get(layers[0], 0.0) + float(part["cost"])
    return found


def _others(by_layer: Mapping[str | None, _LayerTime], names: set[str]) -> float | None:
    rest = [time.us for name, time in by_layer.items() if name not in names and time.us]
    return _median([sum(round_us) for round_us in zip(*rest, strict=True)])


def _by_layer(rows: list[Any], exported: Case) -> dict[str | None, _LayerTime]:
    """Sum the kernels of each layer, and under None those of no layer.

    The time of a kernel that computes several layers cannot be split: the first layer gets it, the others name it.
    """
    found: dict[str | None, _LayerTime] = {}
    for row in rows:
        layers = exported.layers_of(row["names"], row["op"])
        first, others = (layers[0] if layers else None), layers[1:]
        if first not in found:
            found[first] = _LayerTime(
                row["kernel"], row["op"], row["sparse"], list(row["us"]), row.get("utilization"), row.get("ran_on")
            )
        else:
            known = found[first]
            known.us = [a + b for a, b in zip(known.us, row["us"], strict=True)] if known.us else list(row["us"])
            known.sparse = known.sparse or (None if None in {known.sparse, row["sparse"]} else row["sparse"])
            known.ran_on = known.ran_on or row.get("ran_on")
            if row["op"] in WEIGHT_OPS and known.op not in WEIGHT_OPS:
                known.kernel, known.op, known.utilization = row["kernel"], row["op"], row.get("utilization")
        for other in others:
            said = f"{row['kernel']}, together with {first}"
            found.setdefault(other, _LayerTime(said, row["op"], row["sparse"], [], row.get("utilization")))
    return found


def _utilization(dense: _LayerTime | None, pruned: _LayerTime | None) -> Utilization | None:
    shares = [each and each.utilization for each in (dense, pruned)]
    if shares == [None, None]:
        return None
    return Utilization(*(None if share is None else float(f"{share:.3g}") for share in shares))


def _median(values: list[float]) -> float | None:
    """Return the median; None without values, or if it is below the resolution of the profiler's clock."""
    return rounded(statistics.median(values)) or None if values else None
