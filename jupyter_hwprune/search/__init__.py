"""Search for the plan that loses least and meets a goal: milliseconds, a ratio, millijoules, megabytes, a score.

A few copies of the model in other widths are compiled and timed by the target's own toolchain, which gives a table of
times; an exact knapsack takes the plan from it; then the plan itself is compiled and timed, the table corrected, and
so on until a fresh measurement meets the goal.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from ..choose.scoring import DenseScore
from ..core.errors import InputError, NothingFitsError, PruneError, ToolchainError
from ..core.goal import Goal
from ..pruning import Pruned
from ..pruning.prepared import Prepared
from ..pruning.training import Training
from ..report import Limit, Search
from ..toolchains import manifest_of
from ..toolchains.process import Progress, private_folder
from .moves import Limits, Point
from .plans import Plans
from .reading import Reading

ROUNDS = 4  # of compiling and measuring a plan of the table's
AIM = 0.975  # of a limit: a fresh measurement differs a little from the one before
ENOUGH = 0.95  # of a limit: nearer than this is near enough
TRIES = 6  # of the score, where it is what limits


def search(
    goal: Goal, ready: Prepared, dense_score: DenseScore, training: Training | None, progress: Progress
) -> tuple[Pruned, Search]:
    """Return the model of the plan that loses least within the goal, trained where there is `training`, and the search.

    Where no plan meets the goal it is the best one, and the search says what stopped it. Raises InputError if the goal
    cannot be measured here, PruneError if nothing fits, and ToolchainError if the toolchain measured nothing.
    """
    require_measurable(goal, ready, scored=dense_score.scorer is not None)
    scored = dense_score.scorer and (dense_score.scorer.name, dense_score())
    try:
        with private_folder() as folder:
            plans = Plans(ready, dense_score.scorer, training, progress, folder, scored)
            return _Search(goal, dense_score, plans).run()
    except NothingFitsError as error:
        raise ready.refused(error) from None


def require_measurable(goal: Goal, ready: Prepared, *, scored: bool) -> None:
    """Raise InputError if nothing here can tell whether a plan meets the goal."""
    choice = ready.choice
    toolchain = choice.judge.toolchain
    manifest = manifest_of(toolchain) if choice.way is not None else None
    if manifest is None or (choice.way == "compile" and not manifest.estimates):
        reason, cure = (choice.obstacle.reason, choice.obstacle.cure) if choice.obstacle else (None, None)
        raise InputError(
            f"The goal is {goal}, and nothing here can measure that for {choice.target.name}: {reason or toolchain}. "
            f"Cure: {cure or 'choose another --target or --toolchain'}."
        )
    if (goal.energy_mj or goal.power_mw) and (manifest.meter is None or choice.way != "run"):
        raise InputError(
            f"The goal is {goal}, but {toolchain} has no energy meter for {choice.target.name}, so plans cannot be "
            "compared. Give --latency-ms, --speedup or --size-mb, or a target with a meter "
            "(`%hwprune doctor` lists them)."
        )
    if goal.max_drop is not None and not scored:
        raise InputError(
            f"--max-drop is {goal.max_drop:g}, but there is no score. Give one with --eval, or as the "
            "last expression of a cell under %%hwprune."
        )


@dataclass
class _Search:
    goal: Goal
    dense_score: DenseScore
    plans: Plans

    def run(self) -> tuple[Pruned, Search]:
        start, plans = time.monotonic(), self.plans
        self._measure_table()
        rounds = len(plans.points)
        point, stopped_by = self._within_limits() if self.goal.limits else (None, None)
        remarks = () if point is None else self._between_steps(point)
        pruned = None if point is None else self.plans.finish(point)
        if self.goal.max_drop is not None and (pruned is None or self._drop(pruned) > self.goal.max_drop):
            back, milder = self._within_drop(point)
            stopped_by = "score" if self.goal.limits or back is None else None
            point, pruned, remarks = (back, milder, ()) if back is not None else (point, pruned, remarks)
        if point is None or pruned is None:
            raise PruneError(self._nothing_within_drop())
        plans.journal.finish()
        scorer = self.dense_score.scorer
        score = None if scorer is None else scorer.maybe(pruned.model)
        plans.points[point] = replace(plans.points[point], chosen=True, score=score)
        record = Search(
            self.goal,
            self.unit,
            tuple(plans.points.values()),
            stopped_by,
            rounds=len(plans.points) - rounds,
            remembered=plans.journal.found,
            seconds=round(time.monotonic() - start, 1),
            dense_score=self.dense_score(),
            remarks=remarks,
        )
        return pruned, record

    def _measure_table(self) -> None:
        readings = self.plans.measure(self.plans.moves.samples(), "table")
        measured = [each for each in readings if each is not None and each.relative is not None]
        if not measured:
            reason = next((each.reason for each in readings if each is not None and each.reason), None)
            if reason is None and self.plans.misfit is not None:
                raise self.plans.misfit
            raise ToolchainError(
                f"The search for {self.goal} measured nothing: {reason}. `%hwprune doctor` checks the toolchain."
            )
        self.unit = measured[0].unit
        limits, dense = self._limits(), measured[0].dense_quantities
        if limits and all(dense.get(name, math.inf) <= most for name, most in limits.items()):
            took = f", and it takes {measured[0].dense:.4g} {self.unit} a batch" if "time" in limits else ""
            raise InputError(
                f"The dense model already meets the goal: {self.goal}{took}. Nothing has to be removed; give a "
                "tighter goal."
            )
        for name in self._limits():
            if name not in measured[0].quantities:
                raise InputError(
                    f"The goal is {self.goal}, but {self.plans.ready.choice.judge.toolchain} does not report {name} of "
                    "its models here. Give another limit, or another --toolchain."
                )
        if self.unit != "ms" and self.goal.latency_ms is not None:
            raise InputError(
                f"--latency-ms is {self.goal.latency_ms:g}, but {self.plans.ready.choice.judge.toolchain} estimates "
                f"{self.unit}, not milliseconds. Give --speedup."
            )

    def _within_limits(self) -> tuple[Point, Limit | None]:
        """Take plans from the table, compile and measure each, until one meets every limit closely."""
        tried: dict[Point, Reading] = {}
        for number in range(1, ROUNDS + 1):
            point = self.plans.moves.propose({name: AIM * most for name, most in self._limits().items()})
            if point in tried:
                milder = self.plans.moves.milder(point)  # a step of whole blocks may be between the aim and the limit
                if milder is None or milder in tried or not self._may_fit(milder):
                    break
                point = milder
            [reading] = self.plans.measure([point], "round", f"round {number} of at most {ROUNDS}, ")
            if reading is None or reading.relative is None:
                break
            tried[point] = reading
            if ENOUGH <= max(self._used(reading).values()) <= 1:
                break
        if not tried:
            raise ToolchainError(f"The search for {self.goal} could not measure the plan that it chose.")
        within = [point for point, reading in tried.items() if max(self._used(reading).values()) <= 1]
        if within:
            return min(within, key=self.plans.moves.loss), None
        nearest = min(tried, key=lambda point: max(self._used(tried[point]).values()))
        used = self._used(tried[nearest])
        return nearest, max(used, key=lambda name: used[name])

    def _may_fit(self, point: Point) -> bool:
        expected = self.plans.moves.predicted(point)
        return expected is not None and expected <= self._limits().get("time", 0.0)

    def _between_steps(self, point: Point) -> tuple[str, ...]:
        """Say how far the next milder plan is from the time that the plan leaves unused, where steps are coarse."""
        most, own, milder = self._limits().get("time"), self.plans.points[point], self.plans.moves.milder(point)
        used = own.time / own.dense_time / most if most else 1.0
        expected = None if milder is None else self.plans.moves.predicted(milder)
        if not most or milder is None or expected is None or used >= ENOUGH:
            return ()
        said = f"this plan takes {used:.0%} of the time that the goal allows, and {self.plans.moves.name(milder)} is "
        said += f"expected to take {expected / most:.0%}"
        return (f"only whole blocks are removed: {said}. --pattern depth+channel/8 fills such a step with channels",)

    def _within_drop(self, too_far: Point | None) -> tuple[Point | None, Pruned | None]:
        """Step back from the cliff: find the fastest plan whose score falls by no more than the goal allows.

        Halves the way, on a logarithmic scale, between the dense model and the plan that lost too much.
        """
        assert self.goal.max_drop is not None
        least = self.plans.moves.predicted(self.plans.moves.propose(dict.fromkeys(self._limits(), 0.0) | {"time": 0.0}))
        bad = least if too_far is None else self.plans.moves.predicted(too_far)
        good, best, found = 1.0, None, None
        bad = min(max(bad or 0.0, 0.02), 0.99)
        for number in range(1, TRIES + 1):
            middle = (bad * good) ** 0.5
            self.plans.progress(
                "search", f"score {number} of at most {TRIES}, at {middle:.0%} of the dense model's time"
            )
            point = self.plans.moves.propose({"time": middle})
            if point in self.plans.finished:
                break
            pruned = self.plans.finish(point)
            if self._drop(pruned) <= self.goal.max_drop:
                good, best, found = middle, point, pruned
            else:
                bad = middle
        if best is not None:
            [reading] = self.plans.measure([best], "round", "the plan within the score, ")
            if reading is None or reading.relative is None:
                raise ToolchainError(f"The search for {self.goal} could not measure the plan that it chose.")
        return best, found

    def _drop(self, pruned: Pruned) -> float:
        assert self.dense_score.scorer is not None
        after, dense = self.dense_score.scorer.maybe(pruned.model), self.dense_score()
        if after is None or dense is None:
            raise InputError(
                "--max-drop needs a score, and the cell's last expression gave None. End it with a number."
            )
        return dense - after

    def _limits(self) -> Limits:
        """Return the most of each quantity, for the dense model's time as it was measured last."""
        dense = self.plans.last.dense if self.plans.last is not None else None
        goal, found = self.goal, dict[str, float]()
        times = [1 / goal.speedup] if goal.speedup else []
        times += [goal.latency_ms / dense] if goal.latency_ms and dense else []
        if times:
            found["time"] = min(times)
        given = {"energy": goal.energy_mj, "power": goal.power_mw, "size": goal.size_mb and goal.size_mb * 1e6}
        return found | {name: value for name, value in given.items() if value}

    def _used(self, reading: Reading) -> dict[Limit, float]:
        """Return how much of each limit a plan uses; more than 1 is too much."""
        self.plans.last = reading
        most = self._limits()
        names: tuple[Limit, ...] = ("time", "energy", "power", "size")
        return {
            name: reading.quantities[name] / most[name] for name in names if name in most and name in reading.quantities
        }

    def _nothing_within_drop(self) -> str:
        return (
            f"No plan keeps the score within {self.goal.max_drop:g} of the dense model's: the mildest one tried loses "
            "more. Allow more with --max-drop, or train: write the fine-tune step as a cell under %%hwprune, or "
            "recover without labels by --recover 200 and --calib."
        )
