"""A bench: everything dense made once, candidates brought to it, and what their compiler says of each.

Dense and all candidates of a call are compiled, checked, profiled and timed side by side in one worker process. What
was found is found again by a candidate's fingerprint, on the same bench and with the same effort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
from .job import HERE, CaseOfJob, Job, Place
from .kernels import layers_with_costs, layers_with_kernels

TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.15, "float8": 0.15}
"""Of the whole model's output against torch in float32, relative to its largest value: the dtype's rounding, layer upon
layer. Where a toolchain rates layers, each product was held to a tighter one before."""
TOGETHER_BYTES = 4 << 30
"""Of models in one process; further candidates get another, beside the dense model again."""
DENSE, CONTROL = "dense", "control"


@dataclass(frozen=True)
class Candidate:
    """A pruned model written for the judge, its layers as they are known, and how the toolchain shall run it.

    `fingerprint` tells it from others, "" where it has none. `channels` is whether it is smaller rather than sparse;
    `layers_run` are all that may run sparsely, `sparse` those that do, `plans` with which kernels. `first_astray` says
    in which layer its output, or the dense model's, goes wrong.
    """

    case: Case
    layers: tuple[Layer, ...]
    fingerprint: str
    channels: bool
    layers_run: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()
    plans: Mapping[str, Any] = field(default_factory=dict)
    graphs: bool = True
    first_astray: Callable[[str], str] = lambda _: "and in which layer that begins is not known"

    @property
    def key(self) -> Any:
        """Return what makes another candidate the same: its weights, and which of its layers run sparsely."""
        return self.fingerprint, self.sparse, self.graphs


@dataclass(frozen=True)
class Findings:
    """What the judge found of one candidate."""

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
    """`write_dense` writes the dense model for any judge; `reference` is who made the outputs that cases expect."""

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
        """Return the dense model as it was written for the judge, once."""
        if self._dense is None:
            self._dense = self._write_dense(self.choice, "dense")
        return self._dense

    def measure(self, candidates: Sequence[Candidate]) -> list[Findings]:
        """Return what the judge found of each candidate, or why it found nothing; several are timed in turn.

        Raises MismatchError where the dense model, or a candidate that came alone, is compiled to something else.
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
        astray = self._astray(result, names, candidates, tolerance)
        if astray:
            right = [each for name, each in zip(names, candidates, strict=True) if name not in astray]
            others = iter(self._together(right) if right else [])
            wrong = {name: Evidence("unavailable", reason=said) for name, said in astray.items()}
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
        # fewer channels are fewer in every runtime: there a toolchain's own dense model is what there is to beat
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
        if runs:  # what one compilation differs by from another is the noise of a timing, and of nothing else
            dense.append(replace(dense[0], name=CONTROL))
        meter = manifest.meter if runs and self.effort.profile else None
        more = {
            "run": runs,
            "interpret": manifest.checks and not runs,
            "tolerance": tolerance,
            "effort": asdict(self.effort),
            "profile": self.effort.profile,
            "control": CONTROL,
            "meter": None if meter is None else {"window_s": meter.window_s, "settle_s": meter.settle_s},
        }
        pruned = [
            CaseOfJob(name, each.case, each.layers_run, each.sparse, each.plans, keep_files=True)
            for name, each in candidates.items()
        ]
        graphs = all(each.graphs for each in candidates.values())
        return Job("prove", self.choice, self.folder, (*dense, *pruned), graphs, more)

    def _astray(
        self, result: dict[str, Any], names: Sequence[str], candidates: Sequence[Candidate], tolerance: float
    ) -> dict[str, str]:
        """Return what is wrong with each candidate whose output is wrong; raise it where there is no other."""
        errors = {name: max(each, default=0.0) for name, each in result.get("errors", {}).items()}
        by_name = dict(zip(names, candidates, strict=True))
        wrong = [name for name, error in errors.items() if error > tolerance]
        said = {}
        for name in wrong:
            one = by_name.get(name, candidates[0])
            said[name] = (
                f"{self.choice.judge.toolchain} computes something else than {self.reference} for the "
                f"{'pruned' if name in by_name else 'dense'} model: its output is off by {errors[name]:.1e} of its "
                f"largest value (tolerance {tolerance:g}), {one.first_astray('pruned' if name in by_name else 'dense')}"
                ". No time was taken. Try another --toolchain, and report this to the maker of that one."
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
        """Say what was compiled for which chip, by which version, and why it was not run; `model` estimated it."""
        judge, obstacle = self.choice.judge, self.choice.obstacle
        by = " ".join(
            filter(None, [model or judge.toolchain, result["versions"].get(judge.toolchain.rpartition(".")[2])])
        )
        device = f"{by} for {self.choice.target.chip}"
        reason, cure = (None, None) if obstacle is None else (obstacle.reason, obstacle.cure)
        return Evidence("compiler-estimate" if model else "compiled", device, reason, cure)

    def _counted(self, name: str, one: Candidate) -> tuple[Evidence | None, dict[str, Any]]:
        """Have hardware counters read where layers run sparsely, and the toolchain has some."""
        if not one.sparse or not self.effort.profile or not manifest_of(self.choice.judge.toolchain).counts:
            return None, {}
        case = CaseOfJob(name, one.case, one.layers_run, one.sparse, one.plans)
        return counters_of(self.place.run(Job("count", self.choice, self.folder, (case,)), self.progress))


def tolerance_of(choice: Choice) -> float:
    """Return how far from torch's a compiled model's output may be, relative to its largest value."""
    return TOLERANCES.get(choice.dtype or "float32", TOLERANCES["float32"])


def failed(choice: Choice, failure: Failure) -> Evidence:
    """Say that the toolchain is there and did not do it."""
    reason = f"{choice.judge.toolchain}: {failure.reason}"
    return Evidence("unavailable", reason=reason, cure="see its last words; `%hwprune doctor` checks the rest")


def _portions(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Yield as many candidates together as fit the memory that a process may take."""
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
