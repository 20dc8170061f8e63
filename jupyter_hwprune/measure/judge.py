"""Turn raw samples into a verdict: the ratio, its interval, the noise floor, and the word for it.

Dense, pruned and a second compilation of the dense model (the control) run in turn in one process. Rounds are pairs, so
the drift of the machine cancels in a bootstrap over rounds (Efron 1979) of the ratio of medians. The control is the
dense model again, so any difference between the two is noise: memory layout, chance, load.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..report import NOT_COMPARED, Comparison, Samples, Verdict

Clock = Literal["cpu", "wall"]

COARSEST_S = 1e-4
RESAMPLES = 2000
CONFIDENCE = 0.95
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
    """Compare paired samples of equal length, all in the same unit; with fewer than three, or a zero: not measured."""
    return between(dense, pruned, (dense, control))


def between(
    before: Sequence[float], after: Sequence[float], same: tuple[Sequence[float], Sequence[float]]
) -> Comparison:
    """Compare any two models of one interleaved call; `same` are the samples of one model compiled twice, the noise."""
    taken = (before, after, *same)
    if len(before) < 3 or len({len(each) for each in taken}) > 1 or min(map(min, taken)) <= 0:
        return NOT_COMPARED
    samples = np.array(taken)  # [4, rounds]
    rounds = np.random.default_rng(0).integers(0, len(before), (RESAMPLES, len(before)))
    log_medians = np.log(np.median(samples[:, rounds], axis=2))  # [4, RESAMPLES]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(log_medians[0] - log_medians[1], [tail, 100 - tail])
    a_low, a_high = np.percentile(log_medians[2] - log_medians[3], [tail, 100 - tail])
    floor = max(abs(a_low), abs(a_high), np.log1p(SMALLEST_GAIN))
    verdict: Verdict = "faster" if low > floor else "slower" if high < -floor else "no measurable gain"
    medians = np.median(samples, axis=1)
    ratio = medians[0] / medians[1]
    return Comparison(rounded(ratio), rounded(np.exp(low)), rounded(np.exp(high)), rounded(np.expm1(floor)), verdict)


def median_ms(samples: Samples, clock: Clock) -> float:
    return rounded(np.median(on_clock(samples, clock)))


def rounded(value: float) -> float:
    """Keep five significant digits: the rest is noise, and a report has little room."""
    return float(f"{value:.5g}")
