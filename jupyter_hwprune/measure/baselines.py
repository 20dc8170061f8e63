"""Time the dense model with other toolchains. A runtime that is installed only for sparse models has to beat these.

Each toolchain runs in its own process, so its rounds cannot alternate with the candidates'. The baselines are timed
before and after the candidates instead; the difference of the two times is the noise that a gain has to exceed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..choose.choice import Choice
from ..choose.effort import Effort
from ..core.target import Judge
from ..export.cases import Case
from ..report import NOT_COMPARED, Baseline, Evidence, Samples
from ..toolchains.process import Failure, Progress
from .findings import samples_of
from .job import HERE, CaseOfJob, measuring_job
from .judge import Clock, compare, on_clock, typical_ms

MEASURE_S = 4.0

Passes = dict[str, dict[str, Any] | Failure]
WriteDense = Callable[[Choice, str], Case]
"""Write the dense model for the choice's judge under a file name."""


class Baselines:
    """The dense model, written once for all toolchains that the judge has to beat; `time` measures it."""

    def __init__(
        self, write: WriteDense, choice: Choice, names: Sequence[str], folder: Path, progress: Progress
    ) -> None:
        self.choices = [replace(choice, judge=Judge(name, choice.judge.device, ())) for name in names]
        self.folder, self.progress = folder, progress
        if self.choices:
            self.case = CaseOfJob("dense", write(self.choices[0], "baseline"))

    def time(self, effort: Effort) -> Passes:
        """Time each toolchain in its own process."""
        shorter = replace(effort, measure_s=min(MEASURE_S, effort.measure_s), profile=False)
        found: Passes = {}
        for choice in self.choices:
            name = choice.judge.toolchain
            self.progress("baseline", f"the dense model with {name}")
            job = measuring_job(choice, self.folder, [self.case], effort=shorter)
            found[name] = HERE.run(job, lambda *_: None)
        return found


def against(before: Passes, after: Passes, pruned: Samples, clock: Clock) -> tuple[Baseline, ...]:
    """Compare the pruned model's samples with each baseline; the faster of the baseline's two times counts."""
    return tuple(_against(name, [before[name], after[name]], pruned, clock) for name in before)


def _against(name: str, passes: Sequence[dict[str, Any] | Failure], pruned: Samples, clock: Clock) -> Baseline:
    samples = []
    for result in passes:
        if isinstance(result, Failure) or "samples" not in result:
            reason = result.reason if isinstance(result, Failure) else "its output for the dense model is wrong"
            evidence = Evidence("unavailable", reason=f"{name}: {reason}", cure="see `%hwprune doctor`")
            return Baseline(name, evidence, None, None, None, NOT_COMPARED)
        samples.append(samples_of(result, "dense"))
        device = f"{result['machine']['cpu']}, {name} {result['versions'].get(name, '')}"
    faster, slower = sorted(samples, key=lambda each: typical_ms([each], clock))
    rounds = min(len(each.cpu_ms) for each in (faster, slower, pruned))
    speed = compare(*(on_clock(each, clock)[:rounds] for each in (faster, slower, pruned)))
    return Baseline(
        name, Evidence("measured", device=device), samples[0], samples[1], typical_ms([faster], clock), speed
    )
