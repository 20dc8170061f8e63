"""Match the kernels of a profile, or the parts of a cost estimate, to the torch layers that they compute."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..export.cases import Case
from ..export.onnx import WEIGHT_OPS
from ..report import NOT_COMPARED, Comparison, Layer, LayerEstimate, Memory, OtherKernels, Utilization
from .findings import memory_of
from .job import AGAIN, CONTROL, DENSE
from .judge import QUARTER, of_layer, rounded

LIKELY = 1.2  # times the time of the other, from which no verdict is a doubt
WORTH_CONFIRMING = 0.05  # of the layers' time: a shorter layer is not worth fresh processes


@dataclass
class _LayerTime:
    """The kernels of one layer in one case: the name of the product's (or first) kernel, the sum of each round."""

    kernel: str
    op: str
    sparse: bool | None
    us: list[float]
    utilization: float | None
    ran_on: str | None = None


_Copy = list[dict[str | None, _LayerTime]]  # the layers of one compiled copy, in each process
_Times = list[_LayerTime | None]  # one layer of one copy, in each process


class Profiles:
    """The kernels of each copy of the dense model and of the case called `name`, by layer and profiled process.

    `profiles` are the kernels of each process by case. `renamed` has the names that modules bear in the case called
    `name`; it is empty where none was renamed, and lacks those that are gone.
    """

    def __init__(
        self,
        profiles: Sequence[Mapping[str, Any]],
        cases: Mapping[str, Case],
        name: str,
        renamed: Mapping[str, str],
    ) -> None:
        def copies(*names: str) -> list[_Copy]:
            there = [case for case in names if all(case in each for each in profiles)]
            return [[_by_layer(each[case], cases[case.removesuffix(AGAIN)]) for each in profiles] for case in there]

        self.dense, self.pruned = copies(DENSE, CONTROL), copies(name, name + AGAIN)
        self.renamed = renamed

    def with_kernels(self, layers: Sequence[Layer], *, channels: bool) -> tuple[Layer, ...]:
        """Return each layer with its kernels, its times and its verdict, by the rule of the whole model's."""
        return tuple(self._with_kernels(layer, channels=channels) for layer in layers)

    def _with_kernels(self, layer: Layer, *, channels: bool) -> Layer:
        before, after = self._of(layer)
        dense, pruned = before[0][0], after[0][0] if after else None
        return replace(
            layer,
            kernel=dense.kernel if dense else None,
            pruned_kernel=pruned.kernel if pruned else None,
            dense_us=_typical(before),
            pruned_us=_typical(after),
            used=(channels or pruned.sparse) if pruned else None,
            utilization=_utilization(dense, pruned),
            speed=_speed(before, after),
            evidence="measured" if dense or pruned else None,
            ran_on=pruned.ran_on if pruned else None,
        )

    def others(self, layers: Sequence[Layer]) -> OtherKernels:
        """Return the time of all kernels that belong to no pruned layer."""
        names = {layer.name for layer in layers}
        there = {own for each in names if (own := _name_of(each, self.renamed)) is not None}
        return OtherKernels(_others(self.dense[0], names), _others(self.pruned[0], there))

    def in_doubt(self, layers: Sequence[Layer]) -> bool:
        """Say whether a layer that counts took another time, but by rounds too uneven for a verdict."""
        found = [self._of(layer) for layer in layers]
        times = [(_typical(before) or 0.0, _typical(after) or 0.0) for before, after in found]
        least = WORTH_CONFIRMING * sum(dense for dense, _ in times)
        return any(
            max(dense, pruned) > max(least, LIKELY * min(dense, pruned))
            and _speed(*copies).verdict == "no measurable gain"
            for (dense, pruned), copies in zip(times, found, strict=True)
        )

    def _of(self, layer: Layer) -> tuple[list[_Times], list[_Times]]:
        """Return the layer in each copy of dense and of pruned, in each process."""
        own = _name_of(layer.name, self.renamed)
        dense = [[process.get(layer.name) for process in copy] for copy in self.dense]
        return dense, [] if own is None else [[process.get(own) for process in copy] for copy in self.pruned]


def _speed(before: Sequence[_Times], after: Sequence[_Times]) -> Comparison:
    """Compare a layer's copies over the processes that profiled each of them."""
    processes = [each for each in zip(*before, *after, strict=True) if all(time and time.us for time in each)]
    if not after or not processes:
        return NOT_COMPARED
    copies = [[us for time in copy if time for us in time.us] for copy in zip(*processes, strict=True)]
    rounds = [len(time.us) for time, *_ in processes if time]
    return of_layer(copies[: len(before)], copies[len(before) :], rounds)


def _typical(copies: Sequence[_Times]) -> float | None:
    """Return the layer's time, as `of_layer` compares it; None below the resolution of the profiler's clock."""
    processes = [[time.us for time in each if time and time.us] for each in zip(*copies, strict=True)]
    times = [min(float(np.quantile(us, QUARTER)) for us in each) for each in processes if each]
    return rounded(statistics.median(times)) or None if times else None


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
    channels: bool = False,
) -> tuple[Layer, ...]:
    """Return each layer with its cost by the compiler's model, in the dense case and in the one called `name`.

    With `channels`, the latter is smaller, which any kernel profits from.
    """
    dense, pruned = (_costs(estimates[case]["layers"], cases[case]) for case in ("dense", name))

    def own(layer: Layer) -> Layer:
        found = pruned.get(_name_of(layer.name, renamed) or "")
        return _with_costs(layer, dense.get(layer.name), found, channels=channels)

    return tuple(map(own, layers))


def _with_costs(layer: Layer, dense: _Cost | None, pruned: _Cost | None, *, channels: bool) -> Layer:
    """Add what is known of a layer; a cost in one of the models alone is no estimate, but its kernel is known."""
    if pruned is None or (dense is None and pruned.kernel is None):
        return layer
    estimate = LayerEstimate(dense.cost, pruned.cost, dense.memory, pruned.memory) if dense else None
    shares = [_share(each.utilization if each else None) for each in (dense, pruned)]
    return replace(
        layer,
        estimate=estimate,
        evidence="compiler-estimate",
        ran_on=pruned.ran_on,
        kernel=dense.kernel if dense else None,
        pruned_kernel=pruned.kernel,
        used=None if pruned.sparse is None else channels or pruned.sparse,
        utilization=None if shares == [None, None] else Utilization(shares[0], shares[1]),
    )


@dataclass
class _Cost:
    """A layer's part of an estimate: the sums of its parts' costs, constants and traffic, and their largest SRAM.

    `kernel`, `sparse` and `utilization` are those of its product, where the toolchain tells them.
    """

    cost: float
    memory: Memory | None
    ran_on: str | None
    kernel: str | None = None
    sparse: bool | None = None
    utilization: float | None = None


def _costs(parts: list[Any], case: Case) -> dict[str, _Cost]:
    """Return the cost of each layer; parts that compute several layers are left out."""
    found: dict[str, _Cost] = {}
    for part in parts:
        layers = case.layers_of(part["names"], part["op"])
        if len(layers) != 1:
            continue
        told = {key: part.get(key) for key in ("kernel", "sparse", "utilization")}
        own = _Cost(float(part["cost"]), memory_of(part.get("memory")), part.get("ran_on"), **told)
        known = found.setdefault(layers[0], own)
        if known is not own:
            known.cost += own.cost
            known.memory = _together(known.memory, own.memory)
            known.ran_on = known.ran_on or own.ran_on
            known.sparse = known.sparse or own.sparse
    return found


def _together(a: Memory | None, b: Memory | None) -> Memory | None:
    """Return the memory of a layer that two parts compute, one after the other."""
    if a is None or b is None:
        return a or b

    def of(name: str, join: Callable[[list[int]], int]) -> int | None:
        known = [size for size in (getattr(a, name), getattr(b, name)) if size is not None]
        return join(known) if known else None

    return Memory(of("weight_bytes", sum), of("sram_bytes", max), of("traffic_bytes", sum))


def _others(copy: _Copy, names: set[str]) -> float | None:
    sums = []
    for process in copy:
        rest = [time.us for name, time in process.items() if name not in names and time.us]
        sums += [sum(round_us) for round_us in zip(*rest, strict=True)]
    return rounded(statistics.median(sums)) or None if sums else None


def _by_layer(rows: list[Any], exported: Case) -> dict[str | None, _LayerTime]:
    """Sum the kernels of each layer, and under None those of no layer.

    The time of a kernel that computes several layers cannot be split: the first layer gets it, the others name it.
    """
    found: dict[str | None, _LayerTime] = {}
    for row in rows:
        layers = exported.layers_of(row["names"], row["op"])
        us = list(row["us"] or ())
        first, others = (layers[0] if layers else None), layers[1:]
        if first not in found:
            found[first] = _LayerTime(
                row["kernel"], row["op"], row["sparse"], us, row.get("utilization"), row.get("ran_on")
            )
        else:
            known = found[first]
            known.us = [a + b for a, b in zip(known.us, us, strict=True)] if known.us and us else known.us or us
            known.sparse = known.sparse or (None if None in {known.sparse, row["sparse"]} else row["sparse"])
            known.ran_on = known.ran_on or row.get("ran_on")
            if row["op"] in WEIGHT_OPS and known.op not in WEIGHT_OPS:
                known.kernel, known.op, known.utilization = row["kernel"], row["op"], row.get("utilization")
        for other in others:
            said = f"{row['kernel']}, together with {first}"
            found.setdefault(other, _LayerTime(said, row["op"], row["sparse"], [], row.get("utilization")))
    return found


def _share(utilization: float | None) -> float | None:
    return None if utilization is None else float(f"{utilization:.3g}")


def _utilization(dense: _LayerTime | None, pruned: _LayerTime | None) -> Utilization | None:
    shares = [each.utilization if each else None for each in (dense, pruned)]
    if shares == [None, None]:
        return None
    return Utilization(*map(_share, shares))
