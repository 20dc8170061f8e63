"""A bench: write the dense model once, and measure pruned candidates against it.

The dense model and all candidates of a call are compiled, checked, profiled and timed side by side in one worker
process. A bench keeps its findings by the candidate's fingerprint, so the same weights are measured only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..choose.choice import Choice
from ..choose.effort import FULL, Effort
from ..core.errors import MismatchError
from ..export.cases import Case
from ..report import (
    Baseline,
    Energy,
    Evidence,
    Footprint,
    Layer,
    Machine,
    Measurement,
    OtherKernels,
    OutputCheck,
    Timed,
    Untimed,
)
from ..toolchains import manifest_of
from ..toolchains.process import Failure, Progress
from .baselines import Baselines, WriteDense, against
from .findings import counters_of, energy_of, estimate_of, footprint_of, samples_of, timed_of
from .job import HERE, CaseOfJob, Job, Place, prove_job
from .kernels import layers_with_costs, layers_with_kernels

TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.15, "float8": 0.15}
"""The largest error of the whole model's output against torch in float32, relative to the largest value. It allows for
the dtype's rounding in every layer. Toolchains that time single layers check each product to a tighter tolerance."""
TOGETHER_BYTES = 4 << 30
"""The most bytes of models in one process; further candidates get another process, with the dense model again."""
DENSE, CONTROL = "dense", "control"


@dataclass(frozen=True)
class Candidate:
    """A pruned model written for the judge, the report's layers so far, and how the toolchain runs it.

    `fingerprint` identifies its weights, "" if unknown. `channels` is True if channels were removed, so that it is
    smaller, not sparse. `layers_run` are the layers that may run sparsely, `sparse` those that do, and `plans` their
    kernels. `first_wrong` names the first layer whose output is wrong, in the pruned or the dense model.
    """

    case: Case
    layers: tuple[Layer, ...]
    fingerprint: str
    channels: bool
    layers_run: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()
    plans: Mapping[str, Any] = field(default_factory=dict)
    graphs: bool = True
    first_wrong: Callable[[str], str] = lambda _: "and the layer where that begins is not known"

    @property
    def key(self) -> Any:
        """Return what makes another candidate the same: its weights, and which of its layers run sparsely."""
        return self.fingerprint, self.sparse, self.graphs


@dataclass(frozen=True)
class Findings:
    """What the judge measured for one candidate."""

    measurement: Measurement
    layers: tuple[Layer, ...]
    other_kernels: OtherKernels | None = None
    energy: Energy | None = None
    counters: Evidence | None = None
    check: OutputCheck | None = None
    footprint: Footprint | None = None
    baselines: tuple[Baseline, ...] = ()
    machine: Machine | None = None
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def timed(self) -> Timed | None:
        return self.measurement if isinstance(self.measurement, Timed) else None


class Bench:
    """`write_dense` writes the dense model for any judge; `reference` names the runtime whose outputs are expected."""

    def __init__(
        self,
        write_dense: WriteDense,
        choice: Choice,
        folder: Path,
        progress: Progress,
        *,
        effort: Effort = FULL,
        reference: str = "torch",
        place: Place = HERE,
    ) -> None:
        self.choice, self.folder, self.progress = choice, folder, progress
        self.effort, self.reference, self.place = effort, reference, place
        self._write_dense = write_dense
        self._dense: Case | None = None
        self._baselines: dict[tuple[str, ...], Baselines] = {}
        self._known: dict[Any, Findings] = {}

    @property
    def dense(self) -> Case:
        """The dense model, written for the judge on first use."""
        if self._dense is None:
            self._dense = self._write_dense(self.choice, "dense")
        return self._dense

    def measure(self, candidates: Sequence[Candidate]) -> list[Findings]:
        """Return the judge's findings for each candidate, or why there are none; several are timed in turn.

        Raises MismatchError if the compiled dense model, or a single candidate, computes wrong outputs.
        """
        if self.choice.way is None:
            assert self.choice.obstacle is not None
            return [Findings(Untimed(self.choice.obstacle), each.layers) for each in candidates]
        new = [each for each in candidates if each.key not in self._known]
        found: dict[int, Findings] = {}
        for together in _portions(new):
            for each, findings in zip(together, self._together(together), strict=True):
                found[id(each)] = findings
                if each.fingerprint:
                    self._known[each.key] = findings
        return [found.get(id(each)) or self._known[each.key] for each in candidates]

    def _together(self, candidates: Sequence[Candidate]) -> list[Findings]:
        tolerance = tolerance_of(self.choice)
        names = [f"pruned-{i}" if i else "pruned" for i in range(len(candidates))]
        baselines = self._baselines_of(candidates)
        before = baselines.time(self.effort, tolerance)
        job = self._job(dict(zip(names, candidates, strict=True)), tolerance)
        result = self.place.run(job, self.progress)
        if isinstance(result, Failure):
            return [Findings(Untimed(failed(self.choice, result)), each.layers) for each in candidates]
        mismatches = self._mismatches(result, names, candidates, tolerance)
        if mismatches:
            right = [each for name, each in zip(names, candidates, strict=True) if name not in mismatches]
            others = iter(self._together(right) if right else [])
            wrong = {name: Evidence("unavailable", reason=said) for name, said in mismatches.items()}
            return [
                Findings(Untimed(wrong[name]), each.layers) if name in wrong else next(others)
                for name, each in zip(names, candidates, strict=True)
            ]
        after = baselines.time(self.effort, tolerance)
        return [
            self._findings(name, each, result, (before, after), tolerance)
            for name, each in zip(names, candidates, strict=True)
        ]

    def _baselines_of(self, candidates: Sequence[Candidate]) -> Baselines:
        # every runtime gains from fewer channels, so a toolchain's own dense model is the one to beat
        sparse = self.choice.way == "run" and any(not each.channels for each in candidates)
        names = self.choice.judge.against if sparse else ()
        if names not in self._baselines:
            made = Baselines(self._write_dense, self.choice, names, self.folder, self.progress)
            self._baselines[names] = made
        return self._baselines[names]

    def _job(self, candidates: Mapping[str, Candidate], tolerance: float) -> Job:
        runs = self.choice.way == "run"
        manifest = manifest_of(self.choice.judge.toolchain)
        layers = tuple(dict.fromkeys(name for each in candidates.values() for name in each.layers_run))
        plans = {layer: plan for each in candidates.values() for layer, plan in each.plans.items()}
        dense = [CaseOfJob(DENSE, self.dense, layers, (), plans, keep_files=not runs)]
        if runs:  # timing noise: the difference between two compilations of one model
            dense.append(replace(dense[0], name=CONTROL))
        pruned = [
            CaseOfJob(name, each.case, each.layers_run, each.sparse, each.plans, keep_files=True)
            for name, each in candidates.items()
        ]
        return prove_job(
            self.choice,
            self.folder,
            [*dense, *pruned],
            tolerance,
            runs=runs,
            interpret=manifest.checks and not runs,
            effort=self.effort,
            graphs=all(each.graphs for each in candidates.values()),
            control=CONTROL,
            meter=manifest.meter if runs and self.effort.profile else None,
        )

    def _mismatches(
        self, result: dict[str, Any], names: Sequence[str], candidates: Sequence[Candidate], tolerance: float
    ) -> dict[str, str]:
        """Describe each candidate whose output is wrong; raises MismatchError if no other candidate is left."""
        errors = {name: max(each, default=0.0) for name, each in result.get("errors", {}).items()}
        by_name = dict(zip(names, candidates, strict=True))
        wrong = [name for name, error in errors.items() if error > tolerance]
        said = {}
        for name in wrong:
            one = by_name.get(name, candidates[0])
            said[name] = (
                f"{self.choice.judge.toolchain} and {self.reference} disagree on the "
                f"{'pruned' if name in by_name else 'dense'} model: the output is off by {errors[name]:.1e} of its "
                f"largest value (tolerance {tolerance:g}), {one.first_wrong('pruned' if name in by_name else 'dense')}"
                ". Nothing was timed. Try another --toolchain, and report this to the maker of this one."
            )
            if name not in by_name or len(candidates) == 1:
                raise MismatchError(said[name])
        return said

    def _findings(
        self, name: str, one: Candidate, result: dict[str, Any], passes: tuple[Any, Any], tolerance: float
    ) -> Findings:
        choice, toolchain = self.choice, self.choice.judge.toolchain
        cases = {DENSE: self.dense, CONTROL: self.dense, name: one.case}
        files = {one.case.model.suffix[1:]: one.case.model}
        files |= {kind: Path(path) for kind, path in result["files"][name].items()}
        findings = Findings(
            Untimed(self._compiled(result)),
            one.layers,
            check=self._check(name, result, tolerance),
            footprint=footprint_of(result["bytes"], name),
            machine=Machine(**result["machine"]),
            versions=result["versions"],
            files=files,
        )
        if choice.way == "compile":
            estimate = estimate_of(result["estimates"], name, self._compiled(result, manifest_of(toolchain).estimates))
            if estimate is None:
                return findings
            layers = layers_with_costs(one.layers, result["estimates"], cases, name)
            return replace(findings, measurement=estimate, layers=layers)
        label = result["device"]["label"]
        timed = timed_of(result, name, choice.threads, label)
        layers, other = one.layers, None
        if "kernels" in result:
            layers, other = layers_with_kernels(one.layers, result["kernels"], cases, name, channels=one.channels)
        counted, counters = self._counted(name, one)
        meter = manifest_of(toolchain).meter
        return replace(
            findings,
            measurement=timed,
            layers=tuple(replace(layer, counters=counters.get(layer.name)) for layer in layers),
            other_kernels=other,
            energy=None if meter is None else energy_of(result.get("energy"), name, label, meter),
            counters=counted,
            baselines=against(*passes, samples_of(result, name), timed.clock),
        )

    def _check(self, name: str, result: dict[str, Any], tolerance: float) -> OutputCheck | None:
        if "errors" not in result:
            return None
        errors = {case: max(each, default=0.0) for case, each in result["errors"].items()}
        dense = max(error for case, error in errors.items() if case in {DENSE, CONTROL})
        return OutputCheck(dense, errors[name], tolerance, self.reference)

    def _compiled(self, result: dict[str, Any], model: str | None = None) -> Evidence:
        """Say which compiler and version compiled for which chip, and why nothing ran; `model` is its cost model."""
        judge, obstacle = self.choice.judge, self.choice.obstacle
        by = " ".join(
            filter(None, [model or judge.toolchain, result["versions"].get(judge.toolchain.rpartition(".")[2])])
        )
        device = f"{by} for {self.choice.target.chip}"
        reason, cure = (None, None) if obstacle is None else (obstacle.reason, obstacle.cure)
        return Evidence("compiler-estimate" if model else "compiled", device, reason, cure)

    def _counted(self, name: str, one: Candidate) -> tuple[Evidence | None, dict[str, Any]]:
        """Read the hardware counters if layers run sparsely and the toolchain has counters."""
        if not one.sparse or not self.effort.profile or not manifest_of(self.choice.judge.toolchain).counts:
            return None, {}
        case = CaseOfJob(name, one.case, one.layers_run, one.sparse, one.plans)
        return counters_of(self.place.run(Job("count", self.choice, self.folder, (case,)), self.progress))


def tolerance_of(choice: Choice) -> float:
    """Return how far a compiled model's output may be from torch's, relative to the largest value."""
    return TOLERANCES.get(choice.dtype or "float32", TOLERANCES["float32"])


def failed(choice: Choice, failure: Failure) -> Evidence:
    """Say that the toolchain is installed but failed."""
    reason = f"{choice.judge.toolchain}: {failure.reason}"
    return Evidence("unavailable", reason=reason, cure="read the message above; `%hwprune doctor` checks the toolchain")


def _portions(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Split the candidates into groups that fit into the memory of one process."""
    portion: list[Candidate] = []
    size = 0
    for each in candidates:
        own = each.case.model.stat().st_size
        if portion and size + own > TOGETHER_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(each)
        size += own
    if portion:
        yield portion
