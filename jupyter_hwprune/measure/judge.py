"""Turn raw samples into a verdict: the ratio, its interval, the noise floor, and the word for it.

Dense and pruned run in turn in one process, each compiled twice. Rounds are pairs, so the drift of the machine cancels
in a bootstrap over rounds (Efron 1979) of the ratio of medians. The two copies of the dense model compute the same, so
any difference between them is noise: memory layout, chance, load. Some copies are slower than their twins for as long
as they live, so of two copies the faster one counts, and where the first process leaves a doubt, fresh processes
compile and time everything again. The bootstrap draws processes first, then rounds within each (as Kalibera and Jones
2013, "Rigorous benchmarking in reasonable time", for repetitions at several levels); the median over processes counts.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..report import NOT_COMPARED, Comparison, Samples, Verdict

Clock = Literal["cpu", "wall"]
Array = npt.NDArray[np.float64]
Copies = Sequence[Sequence[float]]
"""The samples of each compiled copy of one model."""

COARSEST_S = 1e-4
RESAMPLES = 2000
TAIL = 2.5  # percent at each end of a 95 % interval
QUARTER = 0.25
SMALLEST_GAIN = 0.03
"""A smaller difference is never called a gain, even if the control shows less noise: it is one draw of the noise."""


def clock_for(threads: int, *, on_host: bool = True, cpu_clock_step_s: float = 0.0) -> Clock:
    """Return the clock to time with: CPU time for a single thread on the host, else wall time.

    The CPU time of one thread leaves out other programs; the sum over several threads is not a latency. An
    accelerator's work takes no CPU time, so wall time runs until it ends. A system that counts CPU time in coarse ticks
    of `cpu_clock_step_s` seconds, as Windows does, needs wall time too.
    """
    return "cpu" if threads == 1 and on_host and cpu_clock_step_s <= COARSEST_S else "wall"


def on_clock(samples: Samples, clock: Clock) -> tuple[float, ...]:
    return samples.cpu_ms if clock == "cpu" else samples.wall_ms


def compare(dense: Sequence[float], control: Sequence[float], pruned: Sequence[float]) -> Comparison:
    """Compare paired samples of one process, all in the same unit; with fewer than three, or a zero: not measured."""
    return between((dense,), (pruned,), (dense, control))


def between(before: Copies, after: Copies, same: Copies, rounds: Sequence[int] = ()) -> Comparison:
    """Compare any two models of one interleaved call; `same` are the copies of one model, which show the noise.

    `rounds` are those of each process in turn, which the samples hold one after the other; () is one process. All
    copies have the same number of samples, at least three in each process.
    """
    count = min(len(before), len(after))  # of two copies the faster one counts, which has to be so on both sides
    parts = _processes((*before[:count], *after[:count], *same), rounds)
    if parts is None:
        return NOT_COMPARED
    random = np.random.default_rng(0)
    resampled = np.array([_gains(part, count, random) for part in parts])  # [processes, resamples, 2]
    gains = _over_processes(resampled[:, :, 0], random)
    noise = np.abs(np.percentile(resampled[:, :, 1], [TAIL, 100 - TAIL], axis=1)).max(axis=0)  # [processes]
    return _judged([_gain(np.median(part, axis=1), count) for part in parts], gains, noise.min())


def of_layer(before: Copies, after: Copies, rounds: Sequence[int]) -> Comparison:
    """Compare the copies of one layer, which a profiler times by the wall clock, in each process that `rounds` counts.

    Other programs only add to such a time, and to a long layer in more rounds than to a short one. So the lower
    quartile of the rounds counts, and the noise floor is what two copies differ by, in the middle one of all pairs: an
    interval of that would hold the noise of the rounds, which the interval of the ratio holds already.
    """
    count = min(len(before), len(after))
    parts = _processes((*before[:count], *after[:count], *before[count:], *after[count:]), rounds)
    if parts is None:
        return NOT_COMPARED
    random = np.random.default_rng(0)
    resampled = [_gain(np.quantile(_drawn(part, random), QUARTER, axis=2), count) for part in parts]
    times = np.array([np.quantile(part, QUARTER, axis=1) for part in parts])  # [processes, copies]
    pairs = [times[:, [i, i + 1]] for i in (0, count) if count > 1] or [times[:, [0, 2]]]
    apart = np.abs(np.diff(pairs, axis=2))
    return _judged(
        [_gain(each, count) for each in times], _over_processes(np.array(resampled), random), np.median(apart)
    )


def across(before: Copies, after: Copies, rounds: tuple[Sequence[int], Sequence[int]]) -> Comparison:
    """Compare models of two runtimes, whose processes ran in turn; `rounds` are those of each one's processes.

    Their rounds are no pairs. The noise floor is what the processes of one runtime differ by, the larger of both.
    """
    sides = [_processes(copies, own) for copies, own in zip((before, after), rounds, strict=True)]
    random, middles, drawn, apart = np.random.default_rng(0), [], [], []
    for parts in sides:
        if parts is None:
            return NOT_COMPARED
        times = [np.median(part, axis=1).min() for part in parts]
        middles.append(np.median(times))
        apart.append(np.ptp(times))
        resampled = [np.median(_drawn(part, random), axis=2).min(axis=0) for part in parts]
        drawn.append(_over_processes(np.array(resampled), random))
    return _judged([middles[0] - middles[1]], drawn[0] - drawn[1], max(apart))


def _processes(copies: Copies, rounds: Sequence[int]) -> list[Array] | None:
    """Return the logarithms of each process's samples [copies, rounds]; None for too few, or a clock that stood."""
    rounds = tuple(rounds) or (len(copies[0]),)
    if min(rounds) < 3 or {len(each) for each in copies} != {sum(rounds)} or min(map(min, copies)) <= 0:
        return None
    return np.split(np.log(np.array(copies)), np.cumsum(rounds)[:-1], axis=1)


def _over_processes(resampled: Array, random: np.random.Generator) -> Array:
    """Resample the processes, of which the middle one counts. [processes, resamples] -> [resamples]."""
    chosen = random.integers(0, len(resampled), (RESAMPLES, len(resampled)))
    middle: Array = np.median(resampled[chosen, np.arange(RESAMPLES)[:, None]], axis=1)
    return middle


def _judged(own: Sequence[Array], gains: Array, noise: float) -> Comparison:
    """Give the verdict: `own` is the gain in each process, `gains` the resampled ones, all in logarithms."""
    low, high = np.percentile(gains, [TAIL, 100 - TAIL])
    floor = max(noise, np.log1p(SMALLEST_GAIN))
    verdict: Verdict = "faster" if low > floor else "slower" if high < -floor else "no measurable gain"
    ratio = np.exp(np.median(own))
    return Comparison(rounded(ratio), rounded(np.exp(low)), rounded(np.exp(high)), rounded(np.expm1(floor)), verdict)


def _drawn(samples: Array, random: np.random.Generator) -> Array:
    """Resample the rounds of one process. [copies, rounds] -> [copies, resamples, rounds]."""
    drawn: Array = samples[:, random.integers(0, samples.shape[1], (RESAMPLES, samples.shape[1]))]
    return drawn


def _gains(samples: Array, count: int, random: np.random.Generator) -> Array:
    """Resample the rounds of one process: the gain, and what two copies of one model differ by. -> [resamples, 2]."""
    medians = np.median(_drawn(samples, random), axis=2)  # [copies, resamples]
    return np.stack([_gain(medians, count), medians[-2] - medians[-1]], axis=1)


def _gain(medians: Array, count: int) -> Array:
    """Return the gain of the fastest copy over the other model's, in logarithms. [copies, ...] -> [...]."""
    gain: Array = medians[:count].min(axis=0) - medians[count : 2 * count].min(axis=0)
    return gain


def typical_ms(copies: Sequence[Samples], clock: Clock, rounds: Sequence[int] = ()) -> float:
    """Return a model's time: the median over processes of its fastest copy's median."""
    ends = np.cumsum(tuple(rounds) or (len(on_clock(copies[0], clock)),))[:-1]
    medians = [[np.median(part) for part in np.split(np.array(on_clock(each, clock)), ends)] for each in copies]
    return rounded(np.median(np.min(medians, axis=0)))


def rounded(value: float) -> float:
    """Keep five significant digits: the rest is noise, and a report has little room."""
    return float(f"{value:.5g}")
