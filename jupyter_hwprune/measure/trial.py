"""Where layers measured slower by pruning, time one more candidate that leaves them dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..choose.effort import Effort
from ..core.errors import ExportError, PruneError
from ..core.interrupts import spared
from ..core.pattern import Depth
from ..core.torch_state import own_torch_state
from ..pruning.prepared import Prepared
from ..report import Layer, Timed, Tried
from ..toolchains.process import Failure
from .bench import Bench
from .candidates import Findings
from .findings import errors_of, timed_of
from .job import tolerance_of
from .judge import Copies, between, on_clock
from .rating import Settled
from .runtimes import joined
from .writing import candidate

MOST_LAYERS = 2  # a line that names more is one that nobody reads
LEAST = 0.01  # of the pruned model's time: what the layers lost, and so the most that can come back
TRIAL = Effort(min_rounds=9, clear_rounds=15, max_rounds=30, measure_s=3.0, profile=False)


def slower_layers(layers: Sequence[Layer], *, smaller: bool) -> list[Layer]:
    """Return the layers slower beyond the noise, those that lost most first; without `smaller` layers, sparse ones."""
    lost = [each for each in layers if each.speed.verdict == "slower" and (smaller or each.used)]
    return sorted(lost, key=lost_us, reverse=True)


def lost_us(layer: Layer) -> float:
    return (layer.pruned_us or 0.0) - (layer.dense_us or 0.0)


@own_torch_state()
def tried_dense(bench: Bench, ready: Prepared, settled: Settled, found: Findings) -> Tried | None:
    """Prune again with the slowest layers dense, and time that in turn with dense and pruned.

    None if no layer clearly lost time, if other layers then cannot be pruned or compute wrong outputs, or if the
    user broke it off, which ends nothing else.
    """
    choice, timed = bench.choice, found.timed
    if timed is None or found.case is None or isinstance(choice.pattern, Depth) or choice.every or choice.quantise:
        return None
    one = candidate(bench, ready.start, replace(settled, written=found.case), ready.inputs)
    losers = slower_layers(found.layers, smaller=one.channels)[:MOST_LAYERS]
    if sum(map(lost_us, losers)) <= LEAST * 1e3 * timed.pruned_ms:
        return None
    names = tuple(each.name for each in losers)
    dense = (*choice.dense, *(each.name for each in settled.pruned.returned), *names)
    with spared() as stop:
        bench.progress("confirm", f"with {', '.join(names)} dense")
        try:
            pruned = ready.with_dense(dense).prune(lambda _said: None, ready.start, choice.pattern, choice.sparsity)
            other = candidate(bench, ready.start, replace(settled, pruned=pruned, written=None), ready.inputs, "tried")
        except (PruneError, ExportError):
            return None
        job = bench.job({"pruned": one, "tried": other}, {}, TRIAL, process=1)
        result = bench.place.run(
            job, lambda _phase, said: bench.progress("confirm", f"without {names[0]}: {said}"), stop
        )
    if isinstance(result, Failure) or max(errors_of(result).values(), default=0.0) > tolerance_of(choice):
        return None
    whole = joined([result])
    before, after = (timed_of(whole, each, choice.threads, whole["device"]["label"]) for each in ("pruned", "tried"))
    gain = between(_copies(before), _copies(after), _copies(before, dense=True), before.rounds)
    return Tried(names, before.comparison, after.comparison, gain)


def _copies(timed: Timed, *, dense: bool = False) -> Copies:
    both = (timed.dense, timed.control) if dense else (timed.pruned, timed.pruned_again)
    return [on_clock(each, timed.clock) for each in both if each is not None]
