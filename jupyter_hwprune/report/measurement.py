"""What was measured of the whole model: its times or estimate, and its energy, each with its evidence."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Verdict = Literal["faster", "slower", "no measurable gain", "not measured"]
EvidenceKind = Literal["measured", "simulated kernels", "compiler-estimate", "compiled", "unavailable"]


@dataclass(frozen=True)
class Evidence:
    """The source of a number.

    `measured` names the device it was measured on; `unavailable` gives the reason and the cure. `simulated kernels` ran
    on the named device, with weights made sparse at random.
    """

    kind: EvidenceKind
    device: str | None = None
    reason: str | None = None
    cure: str | None = None


@dataclass(frozen=True)
class Samples:
    """Raw samples, one per round: the mean time of a call in that round's block of calls."""

    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """How many times faster the pruned side is, with the bootstrap 95 % interval.

    `noise_floor` is the difference between two compilations of the same dense model (0.02 is 2 %). A verdict other than
    "no measurable gain" needs an interval beyond it.
    """

    speedup: float | None
    low: float | None
    high: float | None
    noise_floor: float | None
    verdict: Verdict

    def __post_init__(self) -> None:
        if (self.speedup is None) != (self.verdict == "not measured"):
            raise ValueError(f"the verdict {self.verdict!r} does not go with a speed-up of {self.speedup}")


NOT_COMPARED = Comparison(None, None, None, None, "not measured")


@dataclass(frozen=True)
class Launch:
    """How one model's kernels were launched, and the time of a run if Python launches them one by one."""

    way: str
    eager_ms: float | None


@dataclass(frozen=True)
class Timed:
    """Dense against pruned, interleaved; `control` is the dense model compiled a second time, as `pruned_again` is.

    `rounds` are those of each process, whose samples stand one after the other; () is one process. `interrupted` is the
    number of processes that were to confirm the first one's verdict, if the user broke that off. Only accelerators have
    launches.
    """

    evidence: Evidence
    clock: Literal["cpu", "wall"]
    dense: Samples
    control: Samples
    pruned: Samples
    dense_ms: float
    pruned_ms: float
    comparison: Comparison
    dense_launch: Launch | None = None
    pruned_launch: Launch | None = None
    pruned_again: Samples | None = None
    rounds: tuple[int, ...] = ()
    interrupted: int | None = None
    kind: Literal["timed"] = "timed"

    def copies_ms(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the median time of each compiled copy of the dense and of the pruned model, in each process."""
        dense = self._medians(self.dense) + self._medians(self.control)
        again = () if self.pruned_again is None else self._medians(self.pruned_again)
        return dense, self._medians(self.pruned) + again

    def _medians(self, samples: Samples) -> tuple[float, ...]:
        values = samples.cpu_ms if self.clock == "cpu" else samples.wall_ms
        ends = [*itertools.accumulate(self.rounds or (len(values),))]
        return tuple(median(values[start:end]) for start, end in itertools.pairwise([0, *ends]))


@dataclass(frozen=True)
class Estimated:
    """A compiler's own cost estimate of both models, for one batch; it gives no verdict and is never mixed with times.

    `evidence.device` names the compiler and the chip it compiled for. It is deterministic, so it has no noise floor;
    `good_to` is the share of a difference up to which its maker says that it cannot tell, None if the maker names none.
    `clock_mhz` is the clock that cycles are counted at. A model's utilization is the multiplications that it makes, as
    a share of those that the chip could make in that time; None if the compiler does not say.
    """

    evidence: Evidence
    unit: Literal["cycles", "ms"]
    dense: float
    pruned: float
    kind: Literal["estimated"] = "estimated"
    clock_mhz: float | None = None
    good_to: float | None = None
    dense_utilization: float | None = None
    pruned_utilization: float | None = None

    def __post_init__(self) -> None:
        if not (self.dense > 0 and self.pruned > 0):
            raise ValueError(f"an estimate is above 0, and these are {self.dense} and {self.pruned} {self.unit}")

    @property
    def ratio(self) -> float:
        """The dense cost divided by the pruned cost."""
        return self.dense / self.pruned

    @property
    def tells(self) -> bool:
        """Whether the estimate is good enough to tell the two models apart."""
        return abs(self.dense - self.pruned) > (self.good_to or 0.0) * self.dense

    @property
    def times_ms(self) -> tuple[float, float] | None:
        """The dense and the pruned model's time at the stated clock; None without one."""
        if self.unit == "ms":
            return self.dense, self.pruned
        return (
            None if self.clock_mhz is None else (self.dense / self.clock_mhz / 1e3, self.pruned / self.clock_mhz / 1e3)
        )


@dataclass(frozen=True)
class Untimed:
    """Neither timed nor estimated: only compiled, or not even that; the evidence gives the reason."""

    evidence: Evidence
    kind: Literal["untimed"] = "untimed"


Measurement = Timed | Estimated | Untimed


@dataclass(frozen=True)
class Baseline:
    """The dense model with another of the target's toolchains, which a pruned model in a special runtime has to beat.

    It ran in separate processes `before` and `after` the candidates, on the same clock. `speed` compares the pruned
    model with it; its noise floor is the difference between the two times.
    """

    toolchain: str
    evidence: Evidence
    before: Samples | None
    after: Samples | None
    dense_ms: float | None
    speed: Comparison


@dataclass(frozen=True)
class EnergyOf:
    """One model's energy per run (a whole batch), in total and above idle, and its average power."""

    total_mj: float
    above_idle_mj: float
    average_mw: float
    windows_mj: tuple[float, ...]  # per run, for each window; their spread is the error
    window_s: float
    runs: int


@dataclass(frozen=True)
class Energy:
    """The device's own energy counter over windows of seconds, dense and pruned in turn."""

    evidence: Evidence
    idle_mw: float | None
    dense: EnergyOf | None
    pruned: EnergyOf | None


def best_baseline(baselines: Sequence[Baseline]) -> Baseline | None:
    """Return the fastest baseline; None if none was timed."""
    timed = [each for each in baselines if each.dense_ms is not None and each.speed.speedup is not None]
    return min(timed, key=lambda each: each.dense_ms or 0.0, default=None)


def deciding(measurement: Measurement, baselines: Sequence[Baseline]) -> Comparison:
    """Return the comparison of pruned with dense that decides: with the fastest dense model, whatever runs it."""
    if not isinstance(measurement, Timed):
        return NOT_COMPARED
    rival = best_baseline(baselines)
    if rival is None or rival.dense_ms is None or measurement.comparison.speedup is None:
        return measurement.comparison
    return rival.speed if rival.dense_ms < measurement.dense_ms else measurement.comparison
