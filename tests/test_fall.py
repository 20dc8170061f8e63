"""Every fall of a score is said, with its size and the cure."""

from __future__ import annotations

import pytest

from jupyter_hwprune.report import Scores
from jupyter_hwprune.report.words.scores import fell

FELL = "The score fell"
CURE = "Train the pruned copy with its zeros held (by a cell, or by --recover without labels), or remove less."


@pytest.mark.parametrize(
    ("dense", "pruned", "said", "size"),
    [
        (-0.02, -0.35, f"{FELL} from -0.02 to -0.35", "0.33, 17.5 times as far below zero"),
        (-2.0, -2.1, f"{FELL} from -2 to -2.1", "0.1, 1.05 times as far below zero"),
        (-2.0, -2.3, f"{FELL} from -2 to -2.3", "0.3, 1.15 times as far below zero"),
        (0.996, 0.926, f"{FELL} from 0.996 to 0.926", "0.07: what it lacks of 1 grew from 0.004 to 0.074, 18.5 times"),
        (0.5, 0.25, f"{FELL} from 0.5 to 0.25", "0.25: what it lacks of 1 grew from 0.5 to 0.75, 1.5 times"),
        (1.0, 0.99, f"{FELL} from 1 to 0.99", "0.01: what it lacks of 1 grew from 0 to 0.01"),
        (31.5, 31.0, f"{FELL} from 31.5 to 31", "0.5, 2% of it"),
        (31.5, 20.0, f"{FELL} from 31.5 to 20", "12, 37% of it"),
        (0.3, -0.2, f"{FELL} from 0.3 to -0.2", "0.5, 167% of it"),
        (0.0, -0.5, f"{FELL} from 0 to -0.5", "0.5"),
    ],
)
def test_a_fall_is_said_with_its_size(dense: float, pruned: float, said: str, size: str) -> None:
    assert fell(Scores("score", dense, pruned), trained=False) == (f"{said}, without training, by {size}.", CURE)


@pytest.mark.parametrize("scores", [Scores("score", -0.5, -0.5), Scores("score", -0.5, -0.4)])
def test_nothing_is_said_where_nothing_fell(scores: Scores) -> None:
    assert fell(scores, trained=False) is None


def test_after_training_the_cure_is_another() -> None:
    cure = "Train longer, prune in more --steps, or remove less."
    said = f"{FELL} from -1 to -2, even after training, by 1, 2 times as far below zero."
    assert fell(Scores("score", -1.0, -2.0), trained=True) == (said, cure)
