"""Prove what the pruning bought, with the target's own toolchain.

Dense and pruned are exported, then compiled, checked, profiled and timed side by side in one worker process.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from .baselines import Baselines, judged
from .choice import Choice
from .counters import count_sparse
from .errors import MismatchError
from .example import Example
from .export import Exported, with_layer_outputs
from .judge import clock_for, compare, median_ms, on_clock
from .kernels import Case, layers_with_kernels
from .pattern import Channel
from .rating import Settled, failed, served
from .report import (
    Baseline,
    Counters,
    Energy,
    EnergyOf,
    Evidence,
    Launch,
    Layer,
    Machine,
    Measurement,
    OtherKernels,
    OutputCheck,
    Samples,
    Timed,
    Untimed,
)
from .request import request_for, write_cases
from .toolchains import defines
from .toolchains.process import Failure, Progress, call, guarded_folder

TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.15, "float8": 0.15}
"""Of the whole model's output against torch in float32, relative to its largest value: the dtype's rounding, layer upon
layer. Where a toolchain rates layers, each product was held to a tighter one before."""
TIMING = {
    "min_rounds": 15,
    "min_profile_rounds": 7,
    "max_rounds": 60,
    "measure_s": 12.0,
    "profile_s": 4.0,
    "slow_profile_round_s": 8.0,
    "slow_profile_rounds": 3,
    "block_s": 0.02,
    "energy_s": 3.0,
    "energy_windows": 2,
    "idle_settle_s": 1.0,
}


@dataclass(frozen=True)
class Proof:
    measurement: Measurement
    layers: tuple[Layer, ...]
    other_kernels: OtherKernels | None = None
    energy: Energy | None = None
    counters: Evidence | None = None
    check: OutputCheck | None = None
    baselines: tuple[Baseline, ...] = ()
    machine: Machine | None = None
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def timed(self) -> Timed | None:
        return self.measurement if isinstance(self.measurement, Timed) else None


def prove(dense: nn.Module, settled: Settled, example: Example, folder: Path, progress: Progress) -> Proof:
    """Return what the toolchain measured, or why it did not.

    Raises ExportError when torch cannot export, MismatchError when the compiled model computes something else.
    """
    choice, pruned = settled.choice, settled.pruned
    if choice.obstacle is not None:
        return Proof(Untimed(choice.obstacle), pruned.layers)
    models = {"dense": dense, "pruned": pruned.model}
    exported = write_cases(models, example, choice, folder, progress, written=settled.written)

    def write_dense(own: Choice, where: Path) -> dict[str, Case]:
        return write_cases({"dense": dense}, example, own, where, progress, written={})

    baselines = Baselines(write_dense, choice, folder, progress)

    def first_astray(name: str) -> str:
        return _first_astray(exported[name], models[name], example, choice, folder, progress)

    how = {"layers": settled.rated, "plans": settled.plans, "graphs": settled.graphs}
    return prove_written(choice, pruned.layers, exported, baselines, first_astray, folder, progress, how=how)


def prove_written(
    choice: Choice,
    described: tuple[Layer, ...],
    exported: Mapping[str, Case],
    baselines: Baselines,
    first_astray: Callable[[str], str],
    folder: Path,
    progress: Progress,
    *,
    how: Mapping[str, Any] | None = None,
    reference: str = "torch",
) -> Proof:
    """Prove what models buy that are written already, dense and pruned, whoever wrote them.

    `first_astray` says of the case named in which layer it goes wrong; `reference` is who made the outputs that the
    cases expect; `how` is what `settle` found for the toolchain to run them with.
    """
    cases = {**exported, "control": exported["dense"]}
    sparse = served(described, choice)
    named: dict[str, Any] = {"plans": {}, "graphs": True, **(how or {}), "sparse": sparse}
    named["layers"] = named.get("layers") or sparse
    tolerance = tolerance_of(choice)
    before = baselines.time(TIMING, tolerance)
    request = request_for("prove", choice, folder, cases, timing=TIMING, tolerance=tolerance, profile=True, **named)
    result = call(request, folder, progress, threads=choice.threads, timeout_s=choice.timeout_s)
    if isinstance(result, Failure):
        return Proof(Untimed(failed(choice, result)), described)

    errors = {name: max(each) for name, each in result["errors"].items()}
    check = OutputCheck(max(errors["dense"], errors["control"]), errors["pruned"], tolerance, reference)
    for name, error in (("dense", check.dense_error), ("pruned", check.pruned_error)):
        if error > tolerance:
            raise MismatchError(
                f"{choice.stack.toolchain} computes something else than {reference} for the {name} model: its output "
                f"is off by {error:.1e} of its largest value (tolerance {tolerance:g}), {first_astray(name)}. No time "
                "was taken. "
                "Try another --toolchain, and report this to the maker of that one."
            )
    after = baselines.time(TIMING, tolerance)
    machine = Machine(**result["machine"])
    device = machine.cpu if choice.stack.device == "CPU" else result["device"]
    layers, other = layers_with_kernels(
        described, result["kernels"], exported, channels=isinstance(choice.pattern, Channel)
    )
    counted, counters = None, dict[str, Counters]()
    if sparse and defines(choice.stack.toolchain, "count"):
        request = request_for("count", choice, folder, {"pruned": exported["pruned"]}, **named)
        counted, counters = count_sparse(
            request, folder, progress, capability=result["capability"], timeout_s=choice.timeout_s
        )
        layers = tuple(replace(layer, counters=counters.get(layer.name)) for layer in layers)
    files = {exported["pruned"].model.suffix[1:]: exported["pruned"].model}
    files |= {k: Path(v) for k, v in result["files"]["pruned"].items()}
    measurement = _timed(choice, result, device)
    return Proof(
        measurement,
        layers,
        other,
        _energy(result.get("energy"), device),
        counted,
        check,
        judged(before, after, measurement.pruned, measurement.clock),
        machine,
        result["versions"],
        files,
    )


def tolerance_of(choice: Choice) -> float:
    """Return how far from torch's a compiled model's output may be, relative to its largest value."""
    return TOLERANCES.get(choice.dtype or "float32", TOLERANCES["float32"])


def _first_astray(
    exported: Case,
    model: nn.Module,
    example: Example,
    choice: Choice,
    folder: Path,
    progress: Progress,
) -> str:
    """Name the first layer, in the order of execution, whose own output is not torch's."""
    if not isinstance(exported, Exported):
        return "though each layer's product alone agrees: the dtype may be too narrow for this model"
    progress("check", "looking for the layer")
    with guarded_folder():
        traced, names = with_layer_outputs(exported, model, example)
    tolerance = tolerance_of(choice)
    request = request_for("prove", choice, folder, {"layers": traced}, timing=None, tolerance=tolerance, profile=False)
    result = call(request, folder, progress, threads=choice.threads, timeout_s=choice.timeout_s)
    if isinstance(result, Failure):
        return "in a layer that could not be found out"
    for name, error in zip(names, result["errors"]["layers"], strict=False):
        if error > tolerance:
            return f"first in layer {name}"
    return "though each layer alone agrees: the fault lies in how they are fused"


def _timed(choice: Choice, result: dict[str, Any], device: str) -> Timed:
    clock = clock_for(choice.threads, choice.stack.device)
    by_case = {name: Samples(tuple(each["wall_ms"]), tuple(each["cpu_ms"])) for name, each in result["samples"].items()}
    dense, control, pruned = (by_case[name] for name in ("dense", "control", "pruned"))
    comparison = compare(on_clock(dense, clock), on_clock(control, clock), on_clock(pruned, clock))
    return Timed(
        Evidence("measured", device=device),
        clock,
        dense,
        control,
        pruned,
        median_ms(dense, clock),
        median_ms(pruned, clock),
        comparison,
        dense_launch=_launch(result["facts"]["dense"]),
        pruned_launch=_launch(result["facts"]["pruned"]),
    )


def _launch(facts: dict[str, Any] | None) -> Launch | None:
    return Launch(facts["way"], facts["eager_ms"]) if facts else None


def _energy(found: dict[str, Any] | None, device: str) -> Energy | None:
    if found is None:
        return None
    if "unavailable" in found:
        cure = "pip install nvidia-ml-py, where the GPU has such a counter"
        return Energy(Evidence("unavailable", reason=found["unavailable"], cure=cure), None, None, None)
    idle_mw, windows = found["idle_mw"], found["windows"]
    dense, pruned = (_energy_of(windows[name], idle_mw) for name in ("dense", "pruned"))
    return Energy(Evidence("measured", device=f"{device}, NVML's energy counter"), idle_mw, dense, pruned)


def _energy_of(windows: list[dict[str, float]], idle_mw: float) -> EnergyOf:
    seconds, runs = sum(w["s"] for w in windows), int(sum(w["runs"] for w in windows))
    total = sum(w["mj"] for w in windows)
    return EnergyOf(
        total_mj=total / runs,
        above_idle_mj=(total - idle_mw * seconds) / runs,
        average_mw=total / seconds,
        windows_mj=tuple(w["mj"] / w["runs"] for w in windows),
        window_s=statistics.fmean(w["s"] for w in windows),
        runs=runs,
    )
