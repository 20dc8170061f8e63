"""Prune for one toolchain in every way that is tried, and measure all of these models in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from ...choose.choice import INT8, Choice
from ...choose.effort import Effort
from ...core.errors import HwpruneError, MismatchError, ToolchainError, first_line
from ...core.pattern import Channel, Depth
from ...core.torch_state import own_torch_state
from ...measure.bench import Bench
from ...measure.candidates import Candidate, Findings
from ...measure.judge import on_clock
from ...measure.rating import Settled, return_losers, settled_by_estimates
from ...measure.writing import bench_for, candidate
from ...pruning import Pruned, plan_and_prune, prune
from ...pruning.channels import Channels
from ...pruning.method import MAGNITUDE
from ...pruning.planning import plan_channels
from ...pruning.prepared import Prepared
from ...pruning.served import Served
from ...report import Evidence, Timed, Totals, Untimed, best_baseline, deciding
from ...toolchains.process import Progress, private_folder
from .levels import WITH_INT8, Trial, channels_of
from .rows import Advised

T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """A model that could not be made, and what was raised: it is a row, and the others go on."""

    error: Exception

    @property
    def evidence(self) -> Evidence:
        said = str(self.error) if isinstance(self.error, HwpruneError) else first_line(self.error)
        return Evidence("unavailable", reason=said)


@dataclass
class Workshop:
    """The dense model, and its pruned copies, each made once for all toolchains."""

    ready: Prepared
    effort: Effort
    progress: Progress
    _made: dict[tuple[Trial, str | None], Pruned | Failed] = field(default_factory=dict, init=False)
    _channels: Channels | Failed | None = field(default=None, init=False)

    def pruned(self, trial: Trial, choice: Choice) -> Pruned | Failed:
        """Return the pruned copy, or why there is none; what sparse kernels take differs between toolchains."""
        assert trial.pattern is not None
        served = Served.of(replace(choice, pattern=trial.pattern))
        known = trial, None if served is None else f"{served.judge} {served.dtype}"
        if known not in self._made:
            self.progress("prune", str(trial))
            self._made[known] = _attempt(partial(self._prune, trial, served))
        return self._made[known]

    @own_torch_state()
    def _prune(self, trial: Trial, served: Served | None) -> Pruned:
        dense, inputs, pattern, share = self.ready.start, self.ready.inputs, trial.pattern, trial.share
        assert pattern is not None
        assert share is not None
        if not isinstance(pattern, Channel):
            if isinstance(pattern, Depth):
                return plan_and_prune(dense, inputs, pattern, share, self.ready.method, blocks=self.ready.blocks())
            return plan_and_prune(dense, inputs, pattern, share, MAGNITUDE, served)
        if self._channels is None:
            self._channels = _attempt(partial(Channels.of, dense, inputs))
        if isinstance(self._channels, Failed):
            raise self._channels.error
        return prune(dense, inputs, plan_channels(self._channels, pattern, share), channels=self._channels)


def measured(shop: Workshop, choice: Choice, trials: Sequence[Trial]) -> Iterator[tuple[Trial, list[Advised]]]:
    """Measure the trials with the choice's toolchain, and yield each with its rows; those with int8 come last."""
    pruned: dict[Trial, Pruned] = {}
    for trial in trials:
        made = None if trial.int8 else shop.pruned(trial, choice)
        if isinstance(made, Failed):
            yield trial, [unmeasured(choice, trial, made.evidence)]
        elif made is not None:
            pruned[trial] = made
    quantised = [trial for trial in trials if trial.int8]
    if not pruned and not quantised:
        return
    dense, inputs, progress, effort = shop.ready.start, shop.ready.inputs, shop.progress, shop.effort
    with private_folder() as folder:
        bench = bench_for(dense, inputs, choice, folder, progress, effort, shop.ready.calibration)
        whole = _attempt(lambda: bench.dense)
        written = {
            trial: whole if isinstance(whole, Failed) else _attempt(partial(_written, shop, bench, trial, made))
            for trial, made in pruned.items()
        }
        ready: dict[Trial, Written] = {}
        for trial, one in written.items():
            if isinstance(one, Failed):
                yield trial, [unmeasured(choice, trial, one.evidence)]
            else:
                ready[trial] = one
        found = _together(bench, ready)
        while again := _settled(bench, shop, ready, found):  # each time with fewer layers
            ready |= again
            found |= _together(bench, again)
        for trial, one in ready.items():
            yield trial, [_row(choice, trial, one, found[trial])]
        for trial in quantised:
            if isinstance(whole, Failed):
                yield trial, [unmeasured(choice, trial, whole.evidence)]
                continue
            bench = bench_for(
                dense, inputs, replace(choice, quantise=INT8), folder, progress, effort, shop.ready.calibration
            )
            yield trial, _int8(shop, bench)


@dataclass(frozen=True)
class Written:
    """A pruned model that is ready to be measured, as it was settled which of its layers stay pruned."""

    candidate: Candidate
    settled: Settled

    @property
    def totals(self) -> Totals:
        return self.settled.pruned.totals


def _written(shop: Workshop, bench: Bench, trial: Trial, pruned: Pruned) -> Written:
    """Write a pruned model for the toolchain; where it times single layers, losers get their dense weights back."""
    dense, inputs = shop.ready.start, shop.ready.inputs
    settled = return_losers(bench, dense, pruned, inputs)
    if settled.choice.way is None and settled.choice.obstacle is not None:
        raise ToolchainError(settled.choice.obstacle.reason)
    if not settled.pruned.layers:
        raise ToolchainError(f"each layer's sparse kernel gains nothing alone: {settled.pruned.returned[0].reason}")
    assert trial.pattern is not None
    return _rewritten(shop, bench, trial, replace(settled, choice=replace(settled.choice, pattern=trial.pattern)))


def _rewritten(shop: Workshop, bench: Bench, trial: Trial, settled: Settled) -> Written:
    one = candidate(bench, shop.ready.start, settled, shop.ready.inputs, trial.file)
    return Written(replace(one, channels=isinstance(trial.pattern, (Channel, Depth))), settled)


def _settled(
    bench: Bench, shop: Workshop, ready: Mapping[Trial, Written], found: Mapping[Trial, Findings]
) -> dict[Trial, Written]:
    """Return the models of which layers are dense again, since their estimates gain nothing by the zeros."""
    fewer = {trial: settled_by_estimates(shop.ready.start, one.settled, found[trial]) for trial, one in ready.items()}
    return {
        trial: _rewritten(shop, bench, trial, each) for trial, each in fewer.items() if each is not ready[trial].settled
    }


def _together(bench: Bench, ready: Mapping[Trial, Written]) -> dict[Trial, Findings]:
    """Measure all candidates in turn in one call; where that fails and the dense model runs, each by itself."""
    candidates = [one.candidate for one in ready.values()]
    found = _found(bench, candidates)
    if len(candidates) > 1 and all(map(_failed, found)) and not _failed(_found(bench, [_itself(bench)])[0]):
        found = [_found(bench, [replace(each, fingerprint="")])[0] for each in candidates]
    return dict(zip(ready, found, strict=True))


def _found(bench: Bench, candidates: Sequence[Candidate]) -> list[Findings]:
    try:
        return bench.measure(candidates)
    except MismatchError as error:
        return [Findings(Untimed(Evidence("unavailable", reason=str(error))), ())] * len(candidates)


def _itself(bench: Bench) -> Candidate:
    return Candidate(bench.dense, (), "", channels=True)


def _failed(found: Findings) -> bool:
    return found.measurement.evidence.kind == "unavailable"


def _row(choice: Choice, trial: Trial, one: Written, found: Findings) -> Advised:
    totals = one.totals
    row = replace(
        unmeasured(choice, trial, found.measurement.evidence),
        weights_removed=1 - totals.pruned_weights / totals.weights if totals.weights else None,
        macs_removed=None if not totals.macs or totals.pruned_macs is None else 1 - totals.pruned_macs / totals.macs,
    )
    if isinstance(found.measurement, Timed):
        timed = found.measurement
        baselines = () if one.candidate.channels else found.baselines  # every runtime gains from fewer channels
        speed, rival = deciding(timed, baselines), best_baseline(baselines)
        of = rival if rival is not None and speed is rival.speed and speed is not timed.comparison else None
        dense, pruned = (on_clock(samples, timed.clock) for samples in (timed.dense, timed.pruned))
        if of is not None and of.dense_ms is not None and of.before is not None:
            row = replace(row, rival=of.toolchain, dense_ms=of.dense_ms)
            dense = on_clock(of.before, timed.clock)
        else:
            row = replace(row, dense_ms=timed.dense_ms)
        return replace(row, ms=timed.pruned_ms, speed=speed, dense_samples_ms=dense, samples_ms=pruned)
    return replace(row, estimate=None if isinstance(found.measurement, Untimed) else found.measurement)


def _int8(shop: Workshop, bench: Bench) -> list[Advised]:
    """Return the rows of the dense model and of one with fewer channels, if any can go, both quantised."""
    choice, trial = bench.choice, Trial(channels_of(bench.choice.judge), WITH_INT8, int8=True)
    pruned = shop.pruned(replace(trial, int8=False), choice)
    one = None if isinstance(pruned, Failed) else _attempt(partial(_written, shop, bench, trial, pruned))
    found = _found(bench, [one.candidate if isinstance(one, Written) else _itself(bench)])[0]
    corners, timed = found.corners, found.timed
    alone = unmeasured(choice, Trial(None, int8=True), found.measurement.evidence)
    if corners is None or not corners.rows or timed is None:
        return [alone if corners is None else replace(alone, evidence=corners.evidence)]
    rows = [(corners.rows[2], replace(alone, weights_removed=0.0, macs_removed=0.0))]
    if isinstance(one, Written):
        rows.append((corners.rows[3], _row(choice, trial, one, found)))
    on_dense = on_clock(timed.dense, timed.clock)
    return [
        replace(
            row,
            evidence=corners.evidence,
            dense_ms=timed.dense_ms,
            ms=corner.ms,
            speed=corner.speed,
            dense_samples_ms=on_dense,
            samples_ms=() if corner.samples is None else on_clock(corner.samples, timed.clock),
        )
        for corner, row in rows
    ]


def unmeasured(choice: Choice, trial: Trial, evidence: Evidence) -> Advised:
    """Return a row without a number, made now."""
    pattern = None if trial.pattern is None else str(trial.pattern)
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return Advised(choice.target.name, choice.judge.toolchain, pattern, trial.share, trial.int8, evidence, made=made)


def _attempt(make: Callable[[], T]) -> T | Failed:
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - whatever a trial raises is the reason of its row
        return Failed(error)
