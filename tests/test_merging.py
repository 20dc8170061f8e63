"""Two halves of one report: what the timed one lacks comes from the other, and what does not fit is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jupyter_hwprune import merge
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.report import Evidence, Fingerprints, Report, Returned, Scores, Untimed
from tests.reports import compiled, estimated, layer, report

MISSING = Evidence("unavailable", reason="it is not there", cure="install it")
TIMED = replace(report((layer("a", 8, 16), layer("b", 16, 8))), scores=None)
SCORED = replace(TIMED, scores=Scores("accuracy", 0.9, 0.8))
REST = replace(SCORED, measurement=Untimed(MISSING))
BARE = replace(TIMED, layers=tuple(replace(each, picture=None) for each in TIMED.layers))
OTHER = Fingerprints(TIMED.fingerprints.dense, "other weights")


def test_score_and_pictures_of_the_same_pruned_weights_are_taken_over() -> None:
    joined = merge(BARE, REST)
    assert joined.measurement == TIMED.measurement
    assert joined.scores == REST.scores
    assert [each.picture for each in joined.layers] == [each.picture for each in REST.layers]
    assert len(joined.reasons) == len(TIMED.reasons) + 1
    assert merge(REST, BARE) == joined


def test_other_weights_that_nothing_explains_are_said_and_nothing_of_them_is_taken_over() -> None:
    joined = merge(BARE, replace(REST, fingerprints=OTHER))
    assert joined.scores is None
    assert [each.picture for each in joined.layers] == [None, None]
    differs, score, _ = joined.reasons[len(BARE.reasons) :]
    assert "removed different weights of the same model" in differs
    assert "(b and other weights)" in differs
    assert "to time the other one, save its pruned weights and load them there" in differs
    assert score == "The other report's score (0.8) is of a model with different layers pruned, so it is left out."


@pytest.mark.parametrize("timed_half", [True, False])
def test_other_weights_are_explained_by_layers_that_are_dense_again(*, timed_half: bool) -> None:
    returned = (Returned("c", "Linear", (8, 8), "within noise alone", None, TIMED.layers[0].speed),)
    timed = replace(BARE, returned=returned if timed_half else ())
    joined = merge(timed, replace(REST, fingerprints=OTHER, returned=() if timed_half else returned))
    assert not any("removed different weights" in reason for reason in joined.reasons)
    assert any("1 layer went back to dense in one of the two runs" in reason for reason in joined.reasons)
    assert joined.scores is None
    assert [each.picture for each in joined.layers] == [each.picture for each in REST.layers]


@pytest.mark.parametrize("make", [estimated, compiled])
def test_what_was_not_timed_joins_what_was_and_an_estimate_stays_out(make: Callable[[Report], Report]) -> None:
    joined = merge(make(SCORED), BARE)
    assert joined.measurement == TIMED.measurement
    assert all(each.estimate is None for each in joined.layers)
    assert joined.scores == SCORED.scores
    said = [reason for reason in joined.reasons if "estimate (1.79x) is left out" in reason]
    assert len(said) == (make is estimated)


@pytest.mark.parametrize(("seconds", "how"), [(60.0, "tuned for 60 s"), (None, "untuned")])
def test_a_report_of_tuned_kernels_joined_with_one_of_untuned_ones_says_so(seconds: float | None, how: str) -> None:
    timed = replace(BARE, request=replace(BARE.request, tune_kernels=seconds))
    rest = replace(REST, request=replace(REST.request, tune_kernels=None if seconds else 60.0))
    assert any(reason.startswith(f"The timed kernels are {how};") for reason in merge(timed, rest).reasons)


def test_an_estimate_joins_no_estimate_and_a_time_no_time() -> None:
    with pytest.raises(InputError, match="Neither report is timed"):
        merge(estimated(SCORED), compiled(SCORED))
    with pytest.raises(InputError, match="Both reports are timed"):
        merge(TIMED, TIMED)
