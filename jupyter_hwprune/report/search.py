"""What a search tried: every point that was measured, and the one that was chosen."""

from dataclasses import dataclass
from typing import Literal

from ..core.goal import Goal

Limit = Literal["time", "energy", "power", "size", "score"]


@dataclass(frozen=True)
class SearchPoint:
    """One plan that was measured.

    `share` is the average share of channels, blocks or weights removed, `kept` the share of all weights that stays.
    `time` and `dense_time` are in the unit of the search, of one interleaved call; `predicted` is the table's
    prediction. `score` is the user's, None if it was not taken: without training, but for the chosen plan.
    """

    name: str
    share: float
    kept: float
    time: float
    dense_time: float
    predicted: float | None = None
    size_bytes: int | None = None
    energy_mj: float | None = None
    score: float | None = None
    int8: bool = False
    chosen: bool = False

    @property
    def speedup(self) -> float:
        return self.dense_time / self.time


@dataclass(frozen=True)
class Search:
    """A search for the plan that loses least within the goal.

    `points` are in the order of measuring, in `unit`. `stopped_by` names the limit that no plan met, None if the chosen
    one met all. `rounds` were compiled and measured after the table's copies, of which `remembered` were found on disk.
    `dense_score` is that of the dense model. `remarks` say why no plan comes nearer to the goal.
    """

    goal: Goal
    unit: str
    points: tuple[SearchPoint, ...]
    stopped_by: Limit | None
    rounds: int
    remembered: int
    seconds: float
    dense_score: float | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum(each.chosen for each in self.points) != 1:
            raise ValueError("a search chooses one of its points")

    @property
    def chosen(self) -> SearchPoint:
        return next(each for each in self.points if each.chosen)

    @property
    def share(self) -> float:
        return self.chosen.share
