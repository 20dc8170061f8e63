"""Time a dense model with random zeros imposed by the vendor's own runtime, before anything is pruned."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from torch import nn

from ..choose.choice import Choice, choose
from ..core.door import one_door
from ..core.errors import InputError, ToolchainError, counted
from ..core.example import Example, require_runs
from ..core.target import TARGETS, find_target
from ..export import write_case
from ..measure.bench import failed
from ..measure.job import HERE, CaseOfJob, Job
from ..measure.judge import compare, rounded
from ..pruning.taking import take
from ..render.tables import html_table, wrapped
from ..report import Comparison, Evidence, words
from ..report.words.numbers import milliseconds, share
from ..toolchains import manifest_of, version_of
from ..toolchains.process import Failure, Progress, private_folder
from .shown import TextAndHtml, aligned

SPARSITIES = (0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Simulated:
    """The dense model's time in milliseconds, with raw samples, when `sparsity` of its weights are taken as zero."""

    sparsity: float
    ms: float | None
    samples_ms: tuple[float, ...]
    speed: Comparison


@dataclass(frozen=True)
class Simulation(TextAndHtml):
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
        lines = [f"hwprune simulate: {self.model} for {self.target}, {self.toolchain}", ""]
        lines += [f"  {row}" for row in aligned(self._table())]
        return "\n".join([*lines, *(line for said in self._notes() for line in wrapped(said, "  ", "  "))])

    def _html(self) -> str:
        head, *rows = self._table() or [("zeros", "time")]
        notes = "".join(f"<p>{escape(said)}</p>" for said in self._notes())
        return f"<p><b>{escape(self.model)} for {escape(self.target)}</b></p>{html_table(head, rows)}{notes}"

    def _table(self) -> list[tuple[str, ...]]:
        if self.dense_ms is None:
            return []
        rows = [(share(row.sparsity), milliseconds(row.ms), words.speed(row.speed)) for row in self.rows]
        return [("zeros", "time", "against dense"), ("none", milliseconds(self.dense_ms), ""), *rows]

    def _notes(self) -> list[str]:
        if self.dense_ms is None:
            return [f"not measured: {self.evidence.reason}", f"cure: {self.evidence.cure or 'none known'}"]
        where = f"{self.evidence.kind} on {self.evidence.device}, {counted(self.threads, 'thread')}"
        return [f"{where}, wall time.", f"These are {self.caution}."]


@one_door(ToolchainError)
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
    dense = take(model).model.eval()
    inputs = Example.of(example).on_cpu()
    require_runs(dense, inputs)
    inputs = inputs if batch is None else inputs.rebatched(batch)
    found = _run(dense, inputs, choice, sparsities, progress) if choice.obstacle is None else choice.obstacle
    of = (name, choice.target.name, able, threads)
    if isinstance(found, Evidence):
        return Simulation(*of, found, None, (), caution)
    dense_ms, control, *rest = map(tuple, found["simulated"])
    rows = []
    for sparsity, ms in zip(sparsities, rest, strict=True):
        rounds = min(map(len, (dense_ms, control, ms)))
        speed = compare(dense_ms[:rounds], control[:rounds], ms[:rounds])
        rows.append(Simulated(sparsity, _median(ms), ms, speed))
    by = " ".join(filter(None, [able, version_of(able, found["versions"])]))
    evidence = Evidence("simulated kernels", device=f"{found['machine']['cpu']}, {by}")
    return Simulation(*of, evidence, _median(dense_ms), tuple(rows), caution)


def _able(target: str, named: str | None) -> str:
    """Return the named toolchain, or the target's first, that can simulate."""
    row, within = find_target(target)
    own = named or within
    names = [own] if own else [judge.toolchain for judge in row.judges]
    found = next(filter(_simulates, names), None)
    if found is None:
        pairs = ((each.name, judge.toolchain) for each in TARGETS for judge in each.judges)
        able = [f"--target {name}:{toolchain}" for name, toolchain in pairs if _simulates(toolchain)]
        raise InputError(f"None of {', '.join(names)} can simulate sparsity. Use {' or '.join(able)}.")
    return found


def _simulates(toolchain: str) -> bool:
    return bool(manifest_of(toolchain).simulates)


def _run(
    dense: nn.Module, inputs: Example, choice: Choice, sparsities: Sequence[float], progress: Progress
) -> dict[str, Any] | Evidence:
    with private_folder() as folder:
        case = CaseOfJob("dense", write_case(dense, inputs, choice, folder, "dense", progress))
        job = Job("simulate", choice, folder, (case,), more={"sparsities": [None, None, *sparsities]})
        result = HERE.run(job, progress)
    return failed(choice, result) if isinstance(result, Failure) else result


def _median(values: Sequence[float]) -> float | None:
    return rounded(statistics.median(values)) if values else None
