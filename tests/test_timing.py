"""How long cases are timed: on a made-up clock, whose times are what the cases say."""

from __future__ import annotations

import itertools
import math
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from jupyter_hwprune.choose.effort import FULL
from jupyter_hwprune.toolchains import _timing


class Case:
    def __init__(self, clock: Clock, times_ms: Iterator[float]) -> None:
        self.clock, self.times_ms, self.runs = clock, times_ms, 0

    def run(self) -> None:
        self.runs += 1
        self.clock.now += next(self.times_ms) / 1e3

    def finish(self) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now


@pytest.fixture
def rounds_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return how many rounds are timed for cases whose times in milliseconds repeat as given."""
    clock = Clock()
    monkeypatch.setattr(_timing, "time", types.SimpleNamespace(perf_counter=clock.read, process_time=clock.read))

    def timed(limits: Any = FULL, **times_ms: list[float]) -> int:
        cases = {name: Case(clock, itertools.cycle(each)) for name, each in times_ms.items()}
        request = {"effort": asdict(limits), "dense": "dense", "control": "control"}
        samples, _ = _timing.measure(cases, request, "cpu_ms", lambda *_: None)
        (rounds,) = {len(values) for each in samples.values() for values in each.values()}
        before = 2  # one to warm up, one to see how long it takes
        calls = {name: max(1, round(limits.block_s * 1e3 / each[0])) for name, each in times_ms.items()}
        idle = {case.runs - before - rounds * calls[name] for name, case in cases.items()}
        assert idle == {0 if min(map(min, times_ms.values())) >= _timing.LONG_S * 1e3 else rounds}
        return rounds

    return timed


def test_a_case_that_is_far_ahead_in_every_round_ends_the_timing_early(rounds_of: Callable[..., int]) -> None:
    assert rounds_of(dense=[40.0], control=[40.4], pruned=[20.0]) == FULL.clear_rounds
    assert rounds_of(dense=[40.0], control=[40.4], pruned=[60.0]) == FULL.clear_rounds


def test_a_long_call_is_timed_without_one_that_is_not_counted(rounds_of: Callable[..., int]) -> None:
    assert rounds_of(dense=[400.0], control=[404.0], pruned=[200.0]) == FULL.clear_rounds  # it counts the calls
    assert rounds_of(dense=[400.0], control=[404.0], pruned=[50.0]) == FULL.clear_rounds  # which one short case needs


@pytest.mark.parametrize(
    "times_ms",
    [
        {"dense": [40.0], "control": [40.0], "pruned": [38.0]},  # too near
        {"dense": [40.0], "control": [55.0], "pruned": [20.0]},  # two copies of one model differ by nearly as much
        {"dense": [40.0], "control": [40.0], "pruned": [20.0], "other": [39.0]},  # one case of two
        {"dense": [40.0], "pruned": [20.0]},  # with no control
    ],
)
def test_all_rounds_are_timed_where_more_can_be_found_out(
    rounds_of: Callable[..., int], times_ms: dict[str, list[float]]
) -> None:
    limits = replace(FULL, measure_s=1e9)
    assert rounds_of(limits, **times_ms) == limits.max_rounds
    assert rounds_of(replace(FULL, measure_s=0.0), **times_ms) == FULL.min_rounds


@pytest.mark.parametrize("round_", range(FULL.clear_rounds))
@pytest.mark.parametrize("disturbed", ["dense", "control"])
def test_one_disturbed_round_does_not_keep_a_clear_case_from_ending(
    rounds_of: Callable[..., int], disturbed: str, round_: int
) -> None:
    calls = 2 + 2 * round_  # one to warm up, one to count calls by, two in a round
    times_ms = {"dense": [40.0] * 40, "control": [40.4] * 40, "pruned": [20.0], "again": [20.5]}
    times_ms[disturbed][calls : calls + 2] = [90.0, 90.0]
    assert rounds_of(**times_ms) == FULL.clear_rounds


@pytest.mark.parametrize("disturbed", [0.0, 0.1])
@pytest.mark.parametrize("noise", [0.005, 0.03, 0.1])
def test_a_case_that_is_not_far_ahead_seldom_ends_early_however_noisy_the_rounds(
    noise: float, disturbed: float
) -> None:
    # the sign test's bound for a median that is no larger than the least ratio: 2^-7, in all looks together
    runs, bound = 2000, 2.0**-FULL.clear_rounds
    spread = 3 * math.sqrt(bound * (1 - bound) / runs)
    assert _ending_early(_timing.CLEAR_RATIO, noise, disturbed, runs) <= bound + spread
    assert _ending_early(1.0, noise, disturbed, runs) == 0.0


def _ending_early(ratio: float, noise: float, disturbed: float, runs: int) -> float:
    """Return the share of runs that end by 15 rounds; a disturbed block takes twice its time."""
    random, rounds = np.random.default_rng(0), range(FULL.clear_rounds, 16)
    usual = np.array([ratio, ratio, 1.0])[:, None]
    ended = 0
    for _ in range(runs):
        blocks = usual * np.exp(random.normal(0, noise, (3, 15))) * (1 + (random.random((3, 15)) < disturbed))
        times = dict(zip(("dense", "control", "pruned"), blocks.tolist(), strict=True))
        ended += any(
            _timing._is_clear({name: each[:n] for name, each in times.items()}, "dense", "control") for n in rounds
        )
    return ended / runs
