"""Time each layer by itself, dense against sparse, or read its estimates, to decide which stay pruned.

A layer that gains nothing by its zeros gets its dense weights back: it would lose accuracy and save no time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ..choose.choice import Choice
from ..core.errors import MismatchError, counted
from ..core.example import Example
from ..core.pattern import Channel, Depth
from ..export import write_case
from ..export.cases import Case
from ..pruning import Pruned, fingerprint, restore
from ..report import NOT_COMPARED, Comparison, Estimated, Layer, Returned
from ..toolchains import manifest_of
from ..toolchains.process import Failure
from .bench import Bench, failed
from .candidates import Findings
from .job import CaseOfJob, Job
from .judge import compare

PRODUCT_TOLERANCE = 2e-2
"""The largest error of one layer against the float32 product of the same operands, relative to the largest value. It
allows for 16-bit outputs."""


@dataclass(frozen=True)
class Settled:
    """The pruned model after layers that gain nothing got their dense weights back, and the kernels for each layer.

    `choice` is the original one, with an obstacle if the toolchain failed; `rated` are the layers that were timed
    alone, and `checked` says whether the products of some were compared with torch's. `written` is the case of exactly
    this model, if the run's folder already holds it.
    """

    pruned: Pruned
    choice: Choice
    plans: dict[str, Any] = field(default_factory=dict)
    rated: tuple[str, ...] = ()
    checked: bool = False
    graphs: bool = True
    written: Case | None = None


def return_losers(bench: Bench, dense: nn.Module, pruned: Pruned, example: Example) -> Settled:
    """Time each layer that the toolchain has sparse kernels for, and give losers their dense weights back.

    Raises ExportError, and MismatchError for a layer whose sparse kernel computes a wrong product.
    """
    choice = bench.choice
    rated = served(pruned.layers, choice)
    if choice.way != "run" or not rated or not manifest_of(choice.judge.toolchain).rates:
        return Settled(pruned, choice)
    report = fingerprint(pruned.model)
    case = write_case(
        pruned.model, example, choice, bench.folder, "pruned", bench.progress, outputs=bench.outputs, report=report
    )
    cases = (CaseOfJob("dense", bench.dense, rated), CaseOfJob("pruned", case, rated))
    result = bench.place.run(Job("rate", choice, bench.folder, cases, more={"layers": rated}), bench.progress)
    if isinstance(result, Failure):
        return Settled(pruned, replace(choice, way=None, obstacle=failed(choice, result)))
    rows = {row["layer"]: row for row in result["layers"]}
    _require_right_products(rows, choice.judge.toolchain)
    pruned = replace(pruned, layers=tuple(_rated(layer, rows.get(layer.name)) for layer in pruned.layers))
    timed = [layer for layer in pruned.layers if layer.name in rated]
    returned = [back for layer in timed if (back := _returned(layer, rows.get(layer.name), choice))]
    plans = {name: row["plans"] for name, row in rows.items() if "plans" in row}
    graphs = all(row.get("graphs", True) for row in rows.values())
    pruned = restore(dense, pruned, returned) if returned else pruned
    checked = any("samples" in row for row in rows.values())
    return Settled(pruned, choice, plans, rated, checked, graphs, written=None if returned else case)


def _require_right_products(rows: dict[str, dict[str, Any]], toolchain: str) -> None:
    for name, row in rows.items():
        if "samples" in row and row.get("error") is None:
            raise MismatchError(
                f"{toolchain} timed layer {name}, but does not report the error of its sparse product against torch, "
                "so the time cannot be trusted. Report this to the maker of this toolchain's adapter."
            )
        if row.get("error", 0.0) > PRODUCT_TOLERANCE:
            raise MismatchError(
                f"{toolchain} and torch disagree on layer {name}: its sparse product is off by "
                f"{row['error']:.1e} of its largest value (tolerance {PRODUCT_TOLERANCE:g}). Nothing was timed. "
                "Try another --dtype or --toolchain, and report this to the maker of this one."
            )


def served(layers: Sequence[Layer], choice: Choice) -> tuple[str, ...]:
    """Return the layers that the chosen toolchain has a sparse kernel for."""
    return tuple(layer.name for layer in layers if choice.judge.toolchain in (layer.served_by or ()))


def give_up(dense: nn.Module, settled: Settled, slower: Comparison) -> Settled:
    """Make every layer dense again because the whole model was slower, and record the measurement in a remark."""
    pruned = settled.pruned
    gone = []
    for layer in pruned.layers:
        alone = layer.alone or NOT_COMPARED
        by_itself = "faster by itself" if alone.verdict == "faster" else "not timed by itself"
        reason = f"{by_itself}, but the whole model came out slower with it"
        gone.append(Returned(layer.name, layer.kind, layer.shape, reason, layer.rows, alone))
    said = (
        f"With {counted(len(gone), 'layer')} sparse the whole model was {slower.verdict}: {slower.speedup}x, 95 % "
        f"interval {slower.low} to {slower.high}. This report shows the model with all of them dense again."
    )
    restored = restore(dense, pruned, (*pruned.returned, *gone)).remarked(said)
    return replace(settled, pruned=restored, written=None)


def settled_by_estimates(dense: nn.Module, settled: Settled, found: Findings) -> Settled:
    """Give layers back whose zeros lower no estimate of theirs, where the toolchain's estimates decide that.

    Returns the same object where all stay. A layer without an estimate stays pruned.
    """
    choice, estimated = settled.choice, found.measurement
    if choice.keep_all or isinstance(choice.pattern, (Channel, Depth)) or not isinstance(estimated, Estimated):
        return settled
    if not manifest_of(choice.judge.toolchain).settles:
        return settled
    losers = []
    for layer in found.layers:
        if layer.estimate is not None and layer.estimate.pruned >= layer.estimate.dense:
            costs = f"{layer.estimate.pruned:,.0f} {estimated.unit} with its zeros, {layer.estimate.dense:,.0f} without"
            reason = f"the compiler estimates {costs}"
            losers.append(Returned(layer.name, layer.kind, layer.shape, reason, layer.rows, NOT_COMPARED))
    if not losers:
        return settled
    pruned = restore(dense, settled.pruned, (*settled.pruned.returned, *losers))
    return replace(settled, pruned=pruned, written=None)


def keep_trained(settled: Settled, trained: Pruned) -> Settled:
    """Leave every layer pruned after training: the old dense weights no longer fit the rest of the network.

    A layer that has no sparse kernel, or gains nothing by it, gets a dense kernel, which multiplies the zeros.
    """
    losers = {layer.name for layer in settled.pruned.returned}
    if not losers:
        return settled
    toolchain = settled.choice.judge.toolchain
    rated = {layer.name: layer for layer in settled.pruned.layers}
    layers = tuple(
        replace(layer, served_by=tuple(name for name in layer.served_by or () if name != toolchain))
        if layer.name in losers
        else rated.get(layer.name, layer)
        for layer in trained.layers
    )
    why = "; ".join(f"{each.name}: {each.reason}" for each in settled.pruned.returned[:4])
    said = f"Layers that gain nothing keep the zeros they were trained with, and run {toolchain}'s dense kernel: {why}."
    return replace(settled, pruned=replace(trained, layers=layers).remarked(said))


def _rated(layer: Layer, row: dict[str, Any] | None) -> Layer:
    """Add the layer's own timing to it."""
    if not row or not row.get("samples"):
        return layer
    speed = compare(*(row["samples"][case] for case in ("dense", "control", "pruned")))
    return replace(layer, rows=row["rows"], alone=speed)


def _returned(layer: Layer, row: dict[str, Any] | None, choice: Choice) -> Returned | None:
    """Return the layer to dense unless it is faster by the rule of every verdict; None if it stays pruned."""
    if row is not None and "picked" in row:  # the compiler chose the kernel itself; None: it does not say which
        return None
    speed = layer.alone or NOT_COMPARED
    runs = speed.speedup is not None or manifest_of(choice.judge.toolchain).chooses_kernels
    if speed.verdict == "faster" or (choice.keep_all and runs):
        return None
    if row is None:
        reason = "it did not run on this input"
    elif "refused" in row:
        reason = row["refused"]
    elif speed.speedup is None:
        reason = "its kernels could not be timed"
    elif speed.verdict == "slower":
        reason = f"its sparse kernel takes {1 / speed.speedup:.2f}x the time of the dense one"
    else:
        reason = f"its sparse kernel has no measurable gain ({speed.speedup:.2f}x)"
    return Returned(layer.name, layer.kind, layer.shape, reason, row.get("rows") if row else None, speed)
