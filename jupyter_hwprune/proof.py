"""Prove what the pruning bought, with the target's own toolchain.

Dense and pruned are exported, then compiled, checked, profiled and timed side by side in one worker process.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from .choice import Choice
from .errors import MismatchError
from .example import Example
from .export import WEIGHT_OPS, Exported, export_onnx, with_layer_outputs
from .judge import clock_for, compare, median_ms, on_clock
from .pattern import Channel
from .pruning import Pruned
from .report import NOT_COMPARED, Evidence, Layer, Machine, Measurement, OtherKernels, OutputCheck, Samples
from .toolchains import toolchain_file
from .toolchains.process import Failure, Progress, call, guarded_folder

TOLERANCE = 1e-3  # float32 through other kernels, relative to the output's largest value
TIMING = {
    "min_rounds": 15,
    "min_profile_rounds": 7,
    "max_rounds": 60,
    "measure_s": 12.0,
    "profile_s": 4.0,
    "block_s": 0.02,
}


@dataclass(frozen=True)
class Proof:
    measurement: Measurement
    layers: tuple[Layer, ...]
    other_kernels: OtherKernels | None = None
    check: OutputCheck | None = None
    machine: Machine | None = None
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def prove(
    dense: nn.Module,
    pruned: Pruned,
    example: Example,
    choice: Choice,
    folder: Path,
    progress: Progress,
) -> Proof:
    """Return what the toolchain measured, or why it did not.

    Raises ExportError when torch cannot export, MismatchError when the compiled model computes something else.
    """
    if choice.obstacle is not None:
        return Proof(_not_measured(choice, choice.obstacle), pruned.layers)
    exported = {}
    for name, model in (("dense", dense), ("pruned", pruned.model)):
        progress("export", name)
        with guarded_folder():
            exported[name] = export_onnx(model, example, folder, name)
    result = _call(exported | {"control": exported["dense"]}, choice, folder, progress, TIMING)
    if isinstance(result, Failure):
        reason = f"{choice.stack.toolchain}: {result.reason}"
        obstacle = Evidence("unavailable", reason=reason, cure="see its last words; `%hwprune doctor` checks the rest")
        return Proof(_not_measured(choice, obstacle), pruned.layers)

    errors = {name: max(each) for name, each in result["errors"].items()}
    check = OutputCheck(max(errors["dense"], errors["control"]), errors["pruned"], TOLERANCE)
    for name, model, error in (("dense", dense, check.dense_error), ("pruned", pruned.model, check.pruned_error)):
        if error > TOLERANCE:
            where = _first_astray(exported[name], model, example, choice, folder, progress)
            raise MismatchError(
                f"{choice.stack.toolchain} computes something else than torch for the {name} model: its output is off "
                f"by {error:.1e} of its largest value (tolerance {TOLERANCE:g}), {where}. No time was taken. "
                "Try another --toolchain, and report this to the maker of that one."
            )
    machine = Machine(**result["machine"])
    layers, other = _layers(pruned.layers, result["kernels"], exported, channels=isinstance(choice.pattern, Channel))
    files = {"onnx": exported["pruned"].model} | {k: Path(v) for k, v in result["files"]["pruned"].items()}
    return Proof(
        _measurement(choice, result["samples"], machine), layers, other, check, machine, result["versions"], files
    )


def _call(
    exported: Mapping[str, Exported],
    choice: Choice,
    folder: Path,
    progress: Progress,
    timing: dict[str, float] | None,
) -> dict[str, Any] | Failure:
    first = next(iter(exported.values()))
    request = {
        "action": "prove",
        "toolchain": str(toolchain_file(choice.stack.toolchain)),
        "folder": str(folder),
        "inputs": str(first.inputs),
        "input_names": first.input_names,
        "cases": [
            {"name": name, "model": str(each.model), "expected": str(each.expected)} for name, each in exported.items()
        ],
        "settings": {"threads": choice.threads, "device": choice.stack.device},
        "keep_files_of": "pruned",
        "tolerance": TOLERANCE,
        "timing": timing,
        "answer": ["errors", "machine", "versions"],
    }
    return call(request, folder, progress, threads=choice.threads, timeout_s=choice.timeout_s)


def _first_astray(
    exported: Exported,
    model: nn.Module,
    example: Example,
    choice: Choice,
    folder: Path,
    progress: Progress,
) -> str:
    """Name the first layer, in the order of execution, whose own output is not torch's."""
    progress("check", "looking for the layer")
    with guarded_folder():
        traced, names = with_layer_outputs(exported, model, example)
    result = _call({"layers": traced}, choice, folder, progress, timing=None)
    if isinstance(result, Failure):
        return "in a layer that could not be found out"
    for name, error in zip(names, result["errors"]["layers"], strict=False):
        if error > TOLERANCE:
            return f"first in layer {name}"
    return "though each layer alone agrees: the fault lies in how they are fused"


def _measurement(choice: Choice, samples: dict[str, Any], machine: Machine) -> Measurement:
    clock = clock_for(choice.threads)
    by_case = {name: Samples(tuple(each["wall_ms"]), tuple(each["cpu_ms"])) for name, each in samples.items()}
    dense, control, pruned = (by_case[name] for name in ("dense", "control", "pruned"))
    comparison = compare(on_clock(dense, clock), on_clock(control, clock), on_clock(pruned, clock))
    evidence = Evidence("measured", device=machine.cpu)
    return Measurement(
        evidence, clock, dense, control, pruned, median_ms(dense, clock), median_ms(pruned, clock), comparison
    )


def _not_measured(choice: Choice, obstacle: Evidence) -> Measurement:
    return Measurement(obstacle, clock_for(choice.threads), None, None, None, None, None, NOT_COMPARED)


@dataclass
class _LayerTime:
    """The kernels of one layer in one case: the name of its product, or else of its first; each round's sum."""

    kernel: str
    op: str
    sparse: bool
    us: list[float]


def _layers(
    layers: tuple[Layer, ...], kernels: dict[str, Any], exported: dict[str, Exported], *, channels: bool
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
                speed=compare(dense.us, control.us, pruned.us) if dense and control and pruned else NOT_COMPARED,
            )
        )
    others = {
        case: _median([sum(round_us) for round_us in zip(*rest, strict=True)])
        for case, by_layer in by_case.items()
        if (rest := [time.us for name, time in by_layer.items() if name not in names and time.us]) is not None
    }
    return tuple(filled), OtherKernels(others["dense"], others["pruned"])


def _by_layer(rows: list[Any], exported: Exported) -> dict[str | None, _LayerTime]:
    """Sum the kernels of each layer, and under None those of no layer.

    The time of a kernel that carries out several layers cannot be shared out: the first has it, the others name it.
    """
    found: dict[str | None, _LayerTime] = {}
    for row in rows:
        layers = exported.layers_of(row["names"], row["op"])
        first, others = (layers[0] if layers else None), layers[1:]
        if first not in found:
            found[first] = _LayerTime(row["kernel"], row["op"], row["sparse"], list(row["us"]))
        else:
            known = found[first]
            known.us = [a + b for a, b in zip(known.us, row["us"], strict=True)] if known.us else list(row["us"])
            known.sparse |= row["sparse"]
            if row["op"] in WEIGHT_OPS and known.op not in WEIGHT_OPS:
                known.kernel, known.op = row["kernel"], row["op"]
        for other in others:
            found.setdefault(other, _LayerTime(f"{row['kernel']}, in one with {first}", row["op"], row["sparse"], []))
    return found


def _median(values: list[float]) -> float | None:
    """Return the median, or None where there is none, or where it is below what the profiler's clock can tell."""
    return float(f"{statistics.median(values):.5g}") or None if values else None
