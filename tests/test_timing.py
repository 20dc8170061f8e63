"""How long cases are timed: on a made-up clock, whose times are what the cases say."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from jupyter_hwprune.choose.effort import FULL
from jupyter_hwprune.toolchains import _timing


class Case:
    def __init__(self, clock: Clock, times_ms: Iterator[float]) -> None:
        self.clock, self.times_ms = clock, times_ms

    def run(self) -> None:
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
        return rounds

    return timed


def test_a_case_that_is_far_ahead_in_every_round_ends_the_timing_early(rounds_of: Callable[..., int]) -> None:
    assert rounds_of(dense=[40.0], control=[40.4], pruned=[20.0]) == FULL.clear_rounds
    assert rounds_of(dense=[40.0], control=[40.4], pruned=[60.0]) == FULL.clear_rounds


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
