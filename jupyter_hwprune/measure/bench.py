"""A bench: write the dense model once, and measure pruned candidates against it.

The dense model and all candidates of a call are compiled, checked, profiled and timed side by side in one worker
process. A bench keeps its findings by the candidate's fingerprint, so the same weights are measured only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..choose.choice import Choice
from ..choose.effort import FULL, Effort
from ..core.interrupts import spared
from ..export.cases import Case
from ..export.finish import closed
from ..report import Counters, Evidence, Machine, Untimed
from ..toolchains import manifest_of, version_of
from ..toolchains.process import Failure, Progress
from .baselines import Baselines, WriteDense, against
from .candidates import Candidate, Findings
from .findings import check_of, counters_of, energy_of, estimate_of, footprint_of, hotspots_of, peak_memory_of, timed_of
from .job import CONTROL, DENSE, HERE, TOLERANCES, CaseOfJob, Job, Place, tolerance_of
from .kernels import Profiles, layers_with_costs
from .peaks import peaks_of
from .quantising import SUFFIX, Calibration, Quantiser, Twin, corners_of, not_made
from .runtimes import Answer, Passes, joined, runtimes_of
from .together import job_of, wrong_outputs

MOST_GROWTH = 10
"""How many times an int8 model's error at the example's batch it may be off at another, whose rows are other ones."""
TOGETHER_BYTES = 4 << 30
"""The most bytes of models in one process; further candidates get another process, with the dense model again."""


@dataclass(eq=False)
class Bench:
    """`write_dense` writes the dense model for any judge; `reference` names the runtime whose outputs are expected.

    With a `quantiser`, each model has an int8 twin, which is timed in turn with the others. `outputs` are the names of
    the model's outputs, `calibration` the inputs with which the toolchain quantises all models as it compiles them.
    """

    write_dense: WriteDense
    choice: Choice
    folder: Path
    progress: Progress
    effort: Effort = FULL
    reference: str = "torch"
    place: Place = HERE
    quantiser: Quantiser | None = None
    outputs: tuple[str, ...] = ()
    calibration: Calibration | None = None
    _known: dict[Any, Findings] = field(default_factory=dict, init=False)

    @cached_property
    def dense(self) -> Case:
        """The dense model, written for the judge on first use."""
        return self.write_dense(self.choice, f"dense{self.choice.suffix}")

    @cached_property
    def _baselines(self) -> Baselines:
        return Baselines(self.write_dense, self.choice, self.choice.judge.against, self.folder, self.progress)

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
        named = {f"pruned-{i}" if i else "pruned": each for i, each in enumerate(candidates)}
        # every runtime gains from fewer channels, so a toolchain's own dense model is the one to beat
        sparse = self.choice.way == "run" and not all(each.channels for each in candidates)
        before = self._baselines.time(self.effort) if sparse else {}
        twins = self._twins(named)
        result = self.place.run(self.job(named, twins), self.progress)
        if isinstance(result, Failure):
            return [Findings(Untimed(failed(self.choice, result)), each.layers) for each in candidates]
        wrong = wrong_outputs(self.choice, self.reference, result, named)
        if wrong:
            right = [each for name, each in named.items() if name not in wrong]
            others = iter(self._together(right) if right else [])
            return [wrong.get(name) or next(others) for name in named]
        if fixed := self._fixed(result, named):
            return self._together([fixed.get(name, each) for name, each in named.items()])
        result, beside = self._confirmed(result, named, twins)
        passes = before, self._baselines.time(self.effort) if sparse else {}
        looks = self.effort.profile and self.effort.peak_memory
        if self.choice.way == "run" and looks and result["device"]["kind"] == "cpu":
            cases = {DENSE: self.dense, **{name: each.case for name, each in named.items()}}
            cases |= {} if isinstance(twins, Failure) else {name + SUFFIX: each.case for name, each in twins.items()}
            result["peaks"] = peaks_of(self.place, self.choice, cases, result["files"], self.progress)
        found = [self._findings(name, each, result, passes, beside) for name, each in named.items()]
        return [self._with_corners(each, name, result, twins) for name, each in zip(named, found, strict=True)]

    def _confirmed(
        self, first: dict[str, Any], candidates: Mapping[str, Candidate], twins: dict[str, Twin] | Failure
    ) -> tuple[dict[str, Any], Passes]:
        """Time everything again in fresh processes where the first one leaves a doubt; return the samples of all.

        Other runtimes, where all were asked for, are timed in turn with these processes, two of them at least. A
        process that fails adds nothing: the first one has shown that the models run. An interrupt ends this, and what
        was timed until then stands.
        """
        beside: dict[str, list[Answer]] = {each.choice.judge.toolchain: [] for each in self._others}
        answers, result = [first], joined([first])
        if "samples" not in first:
            return result, {}
        layers = any(self._profiles(name, each, result).in_doubt(each.layers) for name, each in candidates.items())
        doubt, quick = layers or not first["clear"], first["compile_s"] <= self.effort.compile_s
        processes = max(self.effort.processes if doubt else 1, 2 if beside else 1) if quick else 1
        again = replace(self.effort, profile=layers)
        with spared() as stop:
            for process in range(processes):
                which = f"process {process + 1} of {processes}"
                if process:
                    job = self.job(candidates, twins, again, process)
                    more = self.place.run(job, self._telling("confirm", which), stop)
                    answers += [] if isinstance(more, Failure) or "samples" not in more else [more]
                for other in self._others:
                    own = {name: each.for_runtime(other.choice) for name, each in candidates.items()}
                    name = other.choice.judge.toolchain
                    say = self._telling("runtimes", f"{name}, {which}")
                    beside[name].append(self.place.run(other.job(own, {}, process=process), say, stop))
                if stop.is_set():
                    return joined(answers) | {"interrupted": processes}, beside
        return joined(answers), beside

    def _telling(self, phase: str, which: str) -> Progress:
        return lambda inner, detail: self.progress(phase, f"{which}, {inner}: {detail}")

    @cached_property
    def _others(self) -> list[Bench]:
        """A bench for each of the other runtimes, where all were asked for."""
        effort = replace(self.effort, profile=False)
        return [replace(self, choice=each, effort=effort) for each in self.choice.beside()[0]]

    def _fixed(self, result: dict[str, Any], candidates: Mapping[str, Candidate]) -> dict[str, Candidate]:
        """Fix the batch of each candidate whose file, or whose int8 twin's, is wrong at another; return these again."""
        found: dict[str, Candidate] = {}
        for case, other in result.get("other_batches", {}).items():
            name, is_twin, allowed = case.removesuffix(SUFFIX), case.endswith(SUFFIX), tolerance_of(self.choice)
            if is_twin:
                allowed = max(TOLERANCES["int8"], MOST_GROWTH * max(result["errors"][case], default=0.0))
            if name not in found and other["error"] > allowed:
                what = f"{self.choice.judge.toolchain}'s int8 model" if is_twin else "the file"
                why = f"at another batch {what} is off by {other['error']:.1e} of the largest output"
                one = candidates[name]
                found[name] = replace(one, case=closed(one.case, other["refused"] or why))
                if self.quantiser is not None:
                    self.quantiser.forget(one.case)
        return found

    def _twins(self, candidates: Mapping[str, Candidate]) -> dict[str, Twin] | Failure:
        """Return the int8 model of the dense one and of each candidate; none without a quantiser."""
        twins: dict[str, Twin] = {}
        if self.quantiser is not None and self.choice.way == "run":
            for name, case in {DENSE: self.dense, **{name: each.case for name, each in candidates.items()}}.items():
                twin = self.quantiser.twin(case, name)
                if isinstance(twin, Failure):
                    return twin
                twins[name] = twin
        return twins

    def _with_corners(
        self, found: Findings, name: str, result: dict[str, Any], twins: dict[str, Twin] | Failure
    ) -> Findings:
        """Add the comparison of dense and pruned, in float and in int8."""
        if self.quantiser is None or found.timed is None:
            return found
        if isinstance(twins, Failure):
            return replace(found, corners=not_made(self.choice, twins))
        made = result["files"]
        files = _called("int8_", twins[name].files, made[name + SUFFIX])
        files |= _called("dense_", {self.dense.model.suffix[1:]: self.dense.model}, made[DENSE])
        files |= _called("dense_int8_", twins[DENSE].files, made[DENSE + SUFFIX])
        corners = corners_of(result, name, found.timed, twins, self.quantiser.rows)
        return replace(
            found, corners=corners, files=found.files | files, twins={each: twins[each] for each in (DENSE, name)}
        )

    def job(
        self,
        candidates: Mapping[str, Candidate],
        twins: Mapping[str, Twin] | Failure,
        effort: Effort | None = None,
        process: int = 0,
    ) -> Job:
        """Return the job for dense and these candidates."""
        file = None if self.calibration is None else self.calibration.file(self.folder)
        return job_of(self.choice, self.folder, self.dense, candidates, twins, effort or self.effort, process, file)

    def _findings(
        self, name: str, one: Candidate, result: dict[str, Any], passes: tuple[Any, Any], beside: Passes
    ) -> Findings:
        choice = self.choice
        files = {one.case.model.suffix[1:]: one.case.model}
        files |= {kind: Path(path) for kind, path in result["files"][name].items()}
        findings = Findings(
            Untimed(self._compiled(result)),
            one.layers,
            check=check_of(result, name, tolerance_of(choice), self.reference),
            footprint=footprint_of(result, name),
            machine=Machine(**result["machine"]),
            versions=result["versions"],
            files=files,
            case=one.case,
            fixed_batch=one.case.fixed,
            any_batch=one.case.batch is not None,
            calibration_rows=None if self.calibration is None else self.calibration.rows,
            remarks=tuple(result["remarks"][name]),
        )
        if choice.way == "compile":
            return self._with_estimate(findings, name, one, result)
        return self._with_times(findings, name, one, result, passes, beside)

    def _with_estimate(self, findings: Findings, name: str, one: Candidate, result: dict[str, Any]) -> Findings:
        """Add the compiler's estimates of the model and its layers, where it gave them."""
        manifest = manifest_of(self.choice.judge.toolchain)
        evidence = self._compiled(result, manifest.estimates)
        estimate = estimate_of(result["estimates"], name, evidence, manifest.good_to)
        if estimate is None:
            return findings
        about = (result["estimates"], self._cases(name, one), name)
        layers = layers_with_costs(one.layers, *about, renamed=one.renamed, channels=one.channels)
        return replace(findings, measurement=estimate, layers=layers)

    def _with_times(
        self,
        findings: Findings,
        name: str,
        one: Candidate,
        result: dict[str, Any],
        passes: tuple[Any, Any],
        beside: Passes,
    ) -> Findings:
        """Add the times of the model and its layers, and what the counters, the profiler and the meter say."""
        choice, manifest = self.choice, manifest_of(self.choice.judge.toolchain)
        label = result["device"]["label"]
        timed = timed_of(result, name, choice.threads, label)
        layers, other = one.layers, None
        if result["profiles"]:
            profiles = self._profiles(name, one, result)
            layers, other = profiles.with_kernels(layers, channels=one.channels), profiles.others(layers)
        counted, counters = None, dict[str, Counters]()
        if one.sparse and self.effort.profile and manifest.counts:
            job = Job("count", choice, self.folder, (one.of_job(name),))
            counted, counters = counters_of(self.place.run(job, self.progress))
        hotspots = None
        if result["samples_functions"] and self.effort.profile and result["device"]["kind"] == "cpu":
            job = Job("hotspots", choice, self.folder, (CaseOfJob(DENSE, self.dense, one.layers_run), one.of_job(name)))
            hotspots = hotspots_of(self.place.run(job, self.progress), name)
        meter = manifest.meter
        return replace(
            findings,
            measurement=timed,
            layers=tuple(replace(layer, counters=counters.get(layer.name)) for layer in layers),
            other_kernels=other,
            energy=None if meter is None else energy_of(result.get("energy"), name, label, meter),
            counters=counted,
            hotspots=hotspots,
            peak_memory=peak_memory_of(result, name),
            baselines=against(*passes, timed.pruned, timed.clock),
            runtimes=runtimes_of(choice, result, timed, beside, name) if choice.every else None,
        )

    def _cases(self, name: str, one: Candidate) -> dict[str, Case]:
        return {DENSE: self.dense, CONTROL: self.dense, name: one.case}

    def _profiles(self, name: str, one: Candidate, result: dict[str, Any]) -> Profiles:
        return Profiles(result["profiles"], self._cases(name, one), name, one.renamed)

    def _compiled(self, result: dict[str, Any], model: str | None = None) -> Evidence:
        """Say which compiler and version compiled for which chip, and why nothing ran; `model` is its cost model."""
        judge, obstacle = self.choice.judge, self.choice.obstacle
        version = version_of(judge.toolchain, result["versions"])
        by = " ".join(filter(None, [model or judge.toolchain, version]))
        configured = f" ({', '.join(self.choice.configured)})" if self.choice.configured else ""
        device = f"{by} for {self.choice.target.chip}{configured}"
        reason, cure = (None, None) if obstacle is None else (obstacle.reason, obstacle.cure)
        missing = next(filter(None, result["uncompiled"].values()), None)
        if missing is not None:
            return Evidence("unavailable", device, missing["reason"], missing["cure"])
        return Evidence("compiler-estimate" if model else "compiled", device, reason, cure)


def failed(choice: Choice, failure: Failure) -> Evidence:
    """Say that the toolchain is installed but failed."""
    reason = f"{choice.judge.toolchain}: {failure.reason}"
    return Evidence("unavailable", reason=reason, cure="read the message above; `%hwprune doctor` checks the toolchain")


def _called(prefix: str, *files: Mapping[str, str | Path]) -> dict[str, Path]:
    return {prefix + kind: Path(path) for each in files for kind, path in each.items()}


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
