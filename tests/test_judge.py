"""The verdict on made-up samples whose truth is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from jupyter_hwprune.measure.judge import across, between, compare, of_layer, typical_ms
from jupyter_hwprune.report import NOT_COMPARED, Comparison, Samples

ROUNDS = 40


def samples(seed: int, *means: float, spread: float = 0.02, drift: float = 0.0) -> list[list[float]]:
    """Draw noisy, right-skewed times around each mean; all share one drift of the machine."""
    rng = np.random.default_rng(seed)
    shared = 1 + drift * np.sin(np.linspace(0, 3, ROUNDS))
    return [list(mean * shared * (1 + spread * rng.exponential(size=ROUNDS))) for mean in means]


def verdicts(*means: float, runs: int = 200, spread: float = 0.02, drift: float = 0.0) -> Counter[str]:
    judged = (compare(*samples(seed, *means, spread=spread, drift=drift)) for seed in range(runs))
    return Counter(comparison.verdict for comparison in judged)


def test_twice_as_fast_is_faster_with_an_interval_around_the_truth() -> None:
    comparison = compare(*samples(0, 2.0, 2.0, 1.0))
    assert comparison.verdict == "faster"
    assert comparison.low is not None
    assert comparison.high is not None
    assert comparison.low <= 2.0 <= comparison.high
    assert comparison.high - comparison.low < 0.2


def test_slower_is_said_as_plainly() -> None:
    assert verdicts(1.0, 1.0, 1.2) == {"slower": 200}


@pytest.mark.parametrize("spread", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_a_model_against_itself_hardly_ever_gets_a_gain(spread: float, drift: float) -> None:
    said = verdicts(1.0, 1.0, 1.0, spread=spread, drift=drift)
    assert said["faster"] + said["slower"] <= 4  # 1 in 50, on noise far beyond what was seen


def test_a_control_that_differs_from_its_own_dense_model_raises_the_bar() -> None:
    calm = compare(*samples(1, 1.10, 1.10, 1.0))
    shaken = compare(*samples(1, 1.10, 1.00, 1.0))
    assert calm.verdict == "faster"
    assert shaken.verdict == "no measurable gain"
    assert shaken.noise_floor is not None
    assert calm.noise_floor is not None
    assert shaken.noise_floor > 0.09 > calm.noise_floor


def test_a_gain_below_the_smallest_worth_the_word_is_none() -> None:
    assert compare(*samples(2, 1.02, 1.02, 1.0, spread=0.001)).verdict == "no measurable gain"


@pytest.mark.parametrize(
    "bad", [([], [], []), ([1.0], [1.0], [1.0]), ([0.0] * 5, [1.0] * 5, [1.0] * 5), ([1.0] * 5, [1.0] * 5, [1.0] * 2)]
)
def test_too_few_samples_or_a_clock_that_stood_still_is_not_measured(
    bad: tuple[list[float], list[float], list[float]],
) -> None:
    assert compare(*bad) == NOT_COMPARED == Comparison(None, None, None, None, "not measured")


def test_the_same_samples_give_the_same_judgement() -> None:
    assert compare(*samples(3, 1.3, 1.3, 1.0)) == compare(*samples(3, 1.3, 1.3, 1.0))


def copied_samples(
    seed: int, gain: float, processes: int = 3
) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """Draw two copies each of a dense model and one `gain` times faster, as a busy machine was seen to time them.

    One compiled copy in nine is 7 to 16 % slower for as long as it lives, others differ by a percent.
    """
    rng = np.random.default_rng(seed)
    rounds = [int(each) for each in rng.integers(10, 30, processes)]
    models = []
    for mean in (gain, 1.0):
        slow = np.where(rng.random((2, processes)) < 1 / 9, rng.uniform(1.07, 1.16, (2, processes)), 1)
        own = mean * slow * rng.normal(1, 0.01, (2, processes))  # [copies, processes]
        parts = [own[:, [i]] * (1 + 0.03 * rng.exponential(size=(2, count))) for i, count in enumerate(rounds)]
        models.append(np.concatenate(parts, axis=1).tolist())
    dense, pruned = models
    return dense, pruned, rounds


def verdict_of(seed: int, gain: float) -> str:
    dense, pruned, rounds = copied_samples(seed, gain)
    return between(dense, pruned, dense, rounds).verdict


def test_slow_copies_of_a_model_make_no_verdict() -> None:
    assert Counter(verdict_of(seed, 1.0) for seed in range(200)) == {"no measurable gain": 200}


def test_slow_copies_of_a_model_hide_no_gain_of_8_percent() -> None:
    said = Counter(verdict_of(seed, 1.08) for seed in range(200))
    assert said["faster"] >= 180
    assert not said["slower"]


def test_one_process_that_disagrees_decides_nothing() -> None:
    dense, pruned, rounds = copied_samples(0, 1.0)
    odd = [[*copy[: rounds[0]], *(ms / 1.3 for ms in copy[rounds[0] :])] for copy in pruned]
    agreed = between(dense, odd, dense, rounds)
    assert agreed.verdict == "no measurable gain"  # two processes of three say 1.3x, one says 1.0x
    assert agreed.low is not None
    assert agreed.high is not None
    assert agreed.low < 1.05
    assert agreed.high > 1.25


def test_samples_that_do_not_fit_their_processes_are_not_compared() -> None:
    dense, pruned, rounds = copied_samples(0, 1.0)
    assert between(dense, pruned, dense, [*rounds, 5]) == NOT_COMPARED
    assert between(dense, pruned, dense, [sum(rounds) - 2, 2]) == NOT_COMPARED


def test_a_models_time_is_that_of_its_faster_copy_in_the_middle_process() -> None:
    first = Samples((1.0, 1.0, 9.0, 9.0, 3.0, 3.0), (0.0,) * 6)
    second = Samples((2.0, 2.0, 2.0, 2.0, 4.0, 4.0), (0.0,) * 6)
    assert typical_ms([first, second], "wall", [2, 2, 2]) == 2.0  # of 1, 2 and 3
    assert typical_ms([first], "wall") == 3.0


def interrupted_us(seed: int, mean_us: float, rounds: int, copies: int = 2) -> list[list[float]]:
    """Draw the times of a layer by the wall clock, beside programs that take the core for 4 ms at any moment."""
    rng = np.random.default_rng(seed)
    own = mean_us * (1 + 0.03 * rng.exponential(size=(copies, rounds)))
    waits = (rng.random((copies, rounds)) < 1 - np.exp(-mean_us / 1000)) * rng.exponential(4000, (copies, rounds))
    drawn: list[list[float]] = (own + waits).tolist()
    return drawn


def layers_said(before_us: float, after_us: float, *rounds: int) -> Counter[str]:
    def said(seed: int) -> str:
        dense, pruned = (interrupted_us(2 * seed + i, us, sum(rounds)) for i, us in enumerate((before_us, after_us)))
        return of_layer(dense, pruned, rounds).verdict

    return Counter(said(seed) for seed in range(100))


def test_a_layer_that_takes_a_quarter_of_its_time_is_faster_on_a_busy_machine_too() -> None:
    assert layers_said(701, 188, 7)["faster"] >= 90
    assert layers_said(701, 188, 7, 7, 7)["faster"] >= 98
    assert layers_said(188, 701, 7, 7, 7)["slower"] >= 98


def test_a_layer_against_itself_hardly_ever_gets_a_gain_on_a_busy_machine() -> None:
    assert layers_said(701, 701, 7)["no measurable gain"] >= 95
    assert layers_said(701, 701, 7, 7, 7)["no measurable gain"] >= 98


def test_a_layer_whose_copies_differ_needs_a_larger_gain() -> None:
    one, other = interrupted_us(0, 100, 20), interrupted_us(1, 115, 20)
    apart = [one[0], other[0]]
    assert of_layer([one[0], one[1]], [[us / 1.1 for us in each] for each in one], [20]).verdict == "faster"
    slowed = of_layer(apart, [[us / 1.1 for us in each] for each in apart], [20])
    assert slowed.verdict == "no measurable gain"
    assert slowed.noise_floor is not None
    assert slowed.noise_floor > 0.1


def test_two_runtimes_are_as_far_apart_as_their_own_passes_let_them() -> None:
    first, second = np.array(samples(4, 2.0, 2.0)), np.array(samples(5, 1.0, 1.0))
    halves = ([20, 20], [20, 20])
    calm = across(first.tolist(), second.tolist(), halves)
    assert calm.verdict == "faster"
    assert calm.low is not None
    assert calm.high is not None
    assert calm.low <= 2.0 <= calm.high
    slowed = np.concatenate([second[:, :20], 2.2 * second[:, 20:]], axis=1)  # another program came in between
    shaken = across(first.tolist(), slowed.tolist(), halves)
    assert shaken.verdict == "no measurable gain"
    assert shaken.noise_floor is not None
    assert shaken.noise_floor > 1.1
    assert across(first.tolist(), second.tolist(), ([20, 20], [38, 2])) == NOT_COMPARED
