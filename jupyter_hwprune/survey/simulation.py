"""Time a dense model with random zeros imposed by the vendor's own runtime, before anything is pruned."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from torch import nn

from ..choose.choice import Choice, choose
from ..core.errors import InputError, counted
from ..core.example import Example, require_runs
from ..core.target import TARGETS, find_target
from ..export import write_case
from ..measure.bench import failed
from ..measure.job import HERE, CaseOfJob, Job
from ..measure.judge import compare
from ..pruning import copy_of
from ..render.tables import html_table, wrapped
from ..report import Comparison, Evidence, words
from ..report.words.numbers import milliseconds, share
from ..toolchains import manifest_of, planned
from ..toolchains.process import Failure, Progress, private_folder

SPARSITIES = (0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Simulated:
    """The dense model's time in milliseconds, with raw samples, when `sparsity` of its weights are taken as zero."""

    sparsity: float
    ms: float | None
    samples_ms: tuple[float, ...]
    speed: Comparison


@dataclass(frozen=True)
class Simulation:
    """The times of a toolchain's sparse kernels, simulated; `caution` says what a simulation leaves out."""

    model: str
    target: str
    toolchain: str
    threads: int
    evidence: Evidence
    dense_ms: float | None
    rows: tuple[Simulated, ...]
    caution: str

    def __str__(self) -> str:
        return simulation_text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": simulation_html(self)}


def simulate(
    model: nn.Module,
    example: Any,
    *,
    target: str = "cpu",
    toolchain: str | None = None,
    sparsities: Sequence[float] = SPARSITIES,
    threads: int = 1,
    batch: int | None = None,
    timeout_s: float = 1800,
    progress: Progress = lambda _phase, _detail: None,
    name: str = "model",
) -> Simulation:
    """Time a dense model as if its weights were sparse, with a toolchain that can simulate that.

    `example` is the model's input, as for `hwprune`. Nothing is pruned and the model is not changed. If the toolchain
    is missing, crashes or takes too long, the evidence of the result says so. Raises InputError if no toolchain of the
    target can simulate, and ExportError.
    """
    able = _able(target, toolchain)
    choice = choose(target.partition(":")[0], toolchain=able, threads=threads, batch=batch, timeout_s=timeout_s)
    if not sparsities or not all(0 < each < 1 for each in sparsities):
        raise InputError(f"The sparsities are {list(sparsities)}; each has to be above 0 and below 1, such as 0.9.")
    caution = manifest_of(able).simulates or ""
    dense = copy_of(model).eval()
    inputs = Example.of(example).on_cpu()
    require_runs(dense, inputs)
    inputs = inputs if batch is None else inputs.rebatched(batch)
    found = _run(dense, inputs, choice, sparsities, progress) if choice.obstacle is None else choice.obstacle
    if isinstance(found, Evidence):
        return Simulation(name, choice.target.name, able, threads, found, None, (), caution)
    dense_ms, control, *rest = (tuple(each) for each in found["simulated"])
    rows = [
        Simulated(sparsity, _median(ms), ms, compare(*_alike(dense_ms, control, ms)))
        for sparsity, ms in zip(sparsities, rest, strict=True)
    ]
    evidence = Evidence("simulated kernels", device=f"{found['machine']['cpu']}, {able} {found['versions'][able]}")
    return Simulation(name, choice.target.name, able, threads, evidence, _median(dense_ms), tuple(rows), caution)


def _able(target: str, named: str | None) -> str:
    """Return the named toolchain, or the target's first, that can simulate."""
    row, within = find_target(target)
    own = named or within
    names = [own] if own else [judge.toolchain for judge in row.judges]
    for name in names:
        if name not in planned() and manifest_of(name).simulates:
            return name
    able = [
        f"--target {target.name}:{judge.toolchain}"
        for target in TARGETS
        for judge in target.judges
        if judge.toolchain not in planned() and manifest_of(judge.toolchain).simulates
    ]
    raise InputError(f"None of {', '.join(names)} can simulate sparsity. Use {' or '.join(able)}.")


def _run(
    dense: nn.Module, inputs: Example, choice: Choice, sparsities: Sequence[float], progress: Progress
) -> dict[str, Any] | Evidence:
    with private_folder() as folder:
        case = CaseOfJob("dense", write_case(dense, inputs, choice, folder, "dense", progress))
        job = Job("simulate", choice, folder, (case,), more={"sparsities": [None, None, *sparsities]})
        result = HERE.run(job, progress)
    return failed(choice, result) if isinstance(result, Failure) else result


def _alike(*samples: tuple[float, ...]) -> list[tuple[float, ...]]:
    rounds = min(map(len, samples))
    return [each[:rounds] for each in samples]


def _median(values: Sequence[float]) -> float | None:
    return float(f"{statistics.median(values):.5g}") if values else None


def simulation_text(found: Simulation) -> str:
    lines = [f"hwprune simulate: {found.model} for {found.target}, {found.toolchain}", ""]
    rows = _simulated(found)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for said in _about_simulation(found):
        lines += wrapped(said, "  ", "  ")
    return "\n".join(lines)


def simulation_html(found: Simulation) -> str:
    head, *rows = _simulated(found) or [("zeros", "time")]
    notes = "".join(f"<p>{escape(said)}</p>" for said in _about_simulation(found))
    return f"<p><b>{escape(found.model)} for {escape(found.target)}</b></p>{html_table(head, rows)}{notes}"


def _simulated(found: Simulation) -> list[tuple[str, ...]]:
    if found.dense_ms is None:
        return []
    rows = [(share(row.sparsity), milliseconds(row.ms), words.speed(row.speed)) for row in found.rows]
    return [("zeros", "time", "against dense"), ("none", milliseconds(found.dense_ms), ""), *rows]


def _about_simulation(found: Simulation) -> list[str]:
    if found.dense_ms is None:
        return [f"not measured: {found.evidence.reason}", f"cure: {found.evidence.cure or 'none known'}"]
    where = f"{found.evidence.kind} on {found.evidence.device}, {counted(found.threads, 'thread')}"
    return [f"{where}, wall time.", f"These are {found.caution}."]
