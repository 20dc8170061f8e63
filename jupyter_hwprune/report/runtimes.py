"""One pruned model in every runtime of its target that works here, each against its own dense model and the others'."""

from dataclasses import dataclass

from .measurement import NOT_COMPARED, Comparison, Timed


@dataclass(frozen=True)
class Runtime:
    """Dense and pruned in one runtime. Both are in each of its processes, which ran in turn with the other runtimes'.

    `alone` is the gain of the runtime itself: its dense model against that of the report's own toolchain. `pruning` is
    the gain of pruning on top of it: pruned against dense in this runtime. `error` is the largest difference of the
    pruned model's outputs from torch's, relative to the largest value. `timed` holds the samples, None for the report's
    own toolchain, whose samples are the report's measurement.
    """

    toolchain: str
    version: str | None
    dense_ms: float
    pruned_ms: float
    pruning: Comparison
    alone: Comparison = NOT_COMPARED
    error: float | None = None
    timed: Timed | None = None


@dataclass(frozen=True)
class LeftOut:
    """A toolchain of the target that was not timed, with the reason and the cure."""

    toolchain: str
    reason: str
    cure: str | None


@dataclass(frozen=True)
class Runtimes:
    """All runtimes, the report's own toolchain first; `speed` is the fastest pruned against the fastest dense model.

    The noise floor of two runtimes is how much the processes of one of them differ.
    """

    rows: tuple[Runtime, ...]
    speed: Comparison
    left_out: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("the runtimes of a report are one or more, and these are none")

    @property
    def fastest_dense(self) -> Runtime:
        return min(self.rows, key=lambda each: each.dense_ms)

    @property
    def fastest_pruned(self) -> Runtime:
        return min(self.rows, key=lambda each: each.pruned_ms)
