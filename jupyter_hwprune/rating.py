"""What the pattern buys in each layer by itself, before the model is settled.

A layer that gains nothing by it gets its dense weights back: it would pay in accuracy for no time at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from .choice import Choice
from .errors import MismatchError, counted
from .example import Example
from .judge import compare
from .kernels import Case
from .pruning import Pruned, restore
from .report import NOT_COMPARED, Comparison, Evidence, Layer, Returned
from .request import request_for, write_cases
from .toolchains import defines, takes_program
from .toolchains.process import Failure, Progress, call

PRODUCT_TOLERANCE = 2e-2
"""Of one layer against the float32 product of the same operands, relative to the largest value: 16 bits of output."""


@dataclass(frozen=True)
class Settled:
    """The pruned model with its losers dense again, and the kernels to run each layer with.

    `choice` is the one asked for, with an obstacle where the toolchain failed; `rated` the layers that were judged;
    `written` the models that lie in the run's folder as they are here.
    """

    pruned: Pruned
    choice: Choice
    plans: dict[str, Any] = field(default_factory=dict)
    rated: tuple[str, ...] = ()
    graphs: bool = True
    written: Mapping[str, Case] = field(default_factory=dict)


def settle(
    dense: nn.Module, pruned: Pruned, example: Example, choice: Choice, folder: Path, progress: Progress
) -> Settled:
    """Have the toolchain time each layer that it serves, where it can, and give losers their dense weights back.

    Raises ExportError, and MismatchError for a layer whose sparse kernel computes something else.
    """
    rated = served(pruned.layers, choice)
    if choice.obstacle is not None or not rated or not defines(choice.stack.toolchain, "rate"):
        return Settled(pruned, choice)
    cases = write_cases({"dense": dense, "pruned": pruned.model}, example, choice, folder, progress, written={})
    request = request_for("rate", choice, folder, cases, layers=rated)
    result = call(request, folder, progress, threads=choice.threads, timeout_s=choice.timeout_s)
    if isinstance(result, Failure):
        return Settled(pruned, replace(choice, obstacle=failed(choice, result)))
    rows = {row["layer"]: row for row in result["layers"]}
    for name, row in rows.items():
        if row.get("error", 0.0) > PRODUCT_TOLERANCE:
            raise MismatchError(
                f"{choice.stack.toolchain} computes something else than torch in layer {name}: its sparse product is "
                f"off by {row['error']:.1e} of its largest value (tolerance {PRODUCT_TOLERANCE:g}). No time was taken. "
                "Try another --dtype or --toolchain, and report this to the maker of that one."
            )
    pruned = replace(pruned, layers=tuple(_rated(layer, rows.get(layer.name)) for layer in pruned.layers))
    judged = [layer for layer in pruned.layers if layer.name in rated]
    returned = [back for layer in judged if (back := _returned(layer, rows.get(layer.name), choice))]
    plans = {name: row["plans"] for name, row in rows.items() if "plans" in row}
    graphs = all(row.get("graphs", True) for row in rows.values())
    if returned:
        pruned = restore(dense, pruned, returned)
        del cases["pruned"]  # it is another model now
    return Settled(pruned, choice, plans, rated, graphs, cases)


def served(layers: Sequence[Layer], choice: Choice) -> tuple[str, ...]:
    """Return the layers that the chosen toolchain has a sparse kernel for."""
    return tuple(layer.name for layer in layers if choice.stack.toolchain in (layer.served_by or ()))


def give_up(dense: nn.Module, settled: Settled, slower: Comparison) -> Settled:
    """Make every layer dense again where the whole model came out slower, and keep what was measured of it."""
    pruned = settled.pruned
    gone = [
        Returned(layer.name, layer.kind, layer.shape, _not_in_all(layer), layer.rows, layer.alone or NOT_COMPARED)
        for layer in pruned.layers
    ]
    said = (
        f"With {counted(len(gone), 'layer')} sparse the whole model was {slower.verdict}: {slower.speedup}x, 95 % "
        f"interval {slower.low} to {slower.high}. What is shown is the model with all of them dense again."
    )
    restored = restore(dense, pruned, (*pruned.returned, *gone)).remarked(said)
    written = {name: case for name, case in settled.written.items() if name != "pruned"}
    return replace(settled, pruned=restored, written=written)


def _not_in_all(layer: Layer) -> str:
    by_itself = "faster by itself" if layer.alone and layer.alone.verdict == "faster" else "not timed by itself"
    return f"{by_itself}, but the whole model came out slower with it"


def failed(choice: Choice, failure: Failure) -> Evidence:
    """Say that the toolchain is there and did not do it."""
    reason = f"{choice.stack.toolchain}: {failure.reason}"
    return Evidence("unavailable", reason=reason, cure="see its last words; `%hwprune doctor` checks the rest")


def _rated(layer: Layer, row: dict[str, Any] | None) -> Layer:
    """Keep with the layer what it did by itself."""
    samples = row and row.get("samples")
    if not row or not samples:
        return layer
    return replace(layer, rows=row["rows"], alone=compare(samples["dense"], samples["control"], samples["pruned"]))


def _returned(layer: Layer, row: dict[str, Any] | None, choice: Choice) -> Returned | None:
    """Decide by the rule of every verdict: what does not come out faster has not earned its zeros."""
    if row is not None and "picked" in row:  # the compiler chose by itself; None: it does not tell how
        return None
    speed = layer.alone or NOT_COMPARED
    chosen_otherwise = speed.speedup is not None or not takes_program(choice.stack.toolchain)  # it could be sparse
    if speed.verdict == "faster" or (choice.keep_all and chosen_otherwise):
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
        reason = f"its sparse kernel gains nothing measurable ({speed.speedup:.2f}x)"
    return Returned(layer.name, layer.kind, layer.shape, reason, row.get("rows") if row else None, speed)
