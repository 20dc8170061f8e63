"""The dense model with the target's other toolchains: what a runtime has to beat that is there for its zeros alone.

Another environment is another process, so nothing can be timed in turn with it. The baselines are timed before and
after the proof instead, and what those two times differ by is the noise that the comparison has to clear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .choice import Choice
from .judge import Clock, compare, median_ms, on_clock
from .kernels import Case
from .pattern import Channel
from .report import NOT_COMPARED, Baseline, Evidence, Samples
from .request import request_for
from .target import Stack
from .toolchains.process import Failure, Progress, call, guarded_folder

MEASURE_S = 4.0

Timed = dict[str, dict[str, Any] | Failure]
Write = Callable[[Choice, Path], dict[str, Case]]
"""Write the dense model for a toolchain into a folder."""


class Baselines:
    """The dense model, written once for all toolchains that the choice is held against, and timed when asked to."""

    def __init__(self, write: Write, choice: Choice, folder: Path, progress: Progress) -> None:
        # fewer channels are fewer in every runtime: there a toolchain's own dense model is what there is to beat
        names = () if isinstance(choice.pattern, Channel) else choice.stack.against
        self.choices = [replace(choice, stack=Stack(name, "", 0.0, "CPU")) for name in names]
        self.folder, self.progress = folder / "baselines", progress
        self.cases: dict[str, Case] = {}
        if self.choices:
            with guarded_folder():
                self.folder.mkdir()
            self.cases = write(self.choices[0], self.folder)

    def time(self, timing: dict[str, Any], tolerance: float) -> Timed:
        """Time each in a process of its own."""
        timing = timing | {"measure_s": min(MEASURE_S, timing["measure_s"])}
        found: Timed = {}
        for choice in self.choices:
            name = choice.stack.toolchain
            self.progress("baseline", f"the dense model with {name}")
            request = request_for(
                "prove", choice, self.folder, self.cases, timing=timing, tolerance=tolerance, profile=False
            )
            found[name] = call(
                request, self.folder, lambda *_: None, threads=choice.threads, timeout_s=choice.timeout_s
            )
        return found


def judged(before: Timed, after: Timed, pruned: Samples, clock: Clock) -> tuple[Baseline, ...]:
    """Hold the pruned model's samples against each baseline's; the faster of its two times counts."""
    return tuple(_judged(name, [before[name], after[name]], pruned, clock) for name in before)


def _judged(name: str, passes: Sequence[dict[str, Any] | Failure], pruned: Samples, clock: Clock) -> Baseline:
    samples = []
    for result in passes:
        if isinstance(result, Failure):
            return _unavailable(name, result.reason)
        if "samples" not in result:
            return _unavailable(name, "it computes something else for the dense model")
        each = result["samples"]["dense"]
        samples.append(Samples(tuple(each["wall_ms"]), tuple(each["cpu_ms"])))
    faster, slower = sorted(samples, key=lambda each: median_ms(each, clock))
    rounds = min(len(each.cpu_ms) for each in (faster, slower, pruned))
    speed = compare(*(on_clock(each, clock)[:rounds] for each in (faster, slower, pruned)))
    result = passes[0]
    assert not isinstance(result, Failure)
    evidence = Evidence("measured", device=f"{result['machine']['cpu']}, {name} {result['versions'].get(name, '')}")
    return Baseline(name, evidence, samples[0], samples[1], median_ms(faster, clock), speed)


def _unavailable(name: str, reason: str) -> Baseline:
    evidence = Evidence("unavailable", reason=f"{name}: {reason}", cure="see `%hwprune doctor`")
    return Baseline(name, evidence, None, None, None, NOT_COMPARED)
