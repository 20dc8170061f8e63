"""Set the runtimes of one target beside each other: what each buys alone, what pruning buys on top, and both.

Runtimes cannot share a process, so each one's processes run in turn with the others'.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..choose.choice import Choice
from ..report import NOT_COMPARED, Comparison, LeftOut, Runtime, Runtimes, Timed
from ..toolchains.process import Failure
from .findings import errors_of, timed_of
from .job import tolerance_of
from .judge import Copies, across, on_clock

Answer = dict[str, Any] | Failure
Passes = Mapping[str, Sequence[Answer]]
"""By toolchain, what its worker answered in each pass."""


def runtimes_of(choice: Choice, own: Mapping[str, Any], timed: Timed, passes: Passes, name: str) -> Runtimes:
    """Compare the runtimes for the candidate called `name`; `own` and `timed` are the chosen toolchain's."""
    chosen, left_out = choice.judge.toolchain, list(choice.beside()[1])
    versions, known = {chosen: own["versions"].get(chosen)}, {chosen: timed}
    errors: dict[str, float | None] = {chosen: errors_of(own).get(name)}
    for toolchain, answers in passes.items():
        right = [each for each in answers if not isinstance(each, Failure) and name in each.get("samples", ())]
        if not right:
            left_out.append(_failed(toolchain, answers[0], tolerance_of(choice)))
            continue
        whole = joined(right)
        versions[toolchain], errors[toolchain] = whole["versions"].get(toolchain), errors_of(whole).get(name)
        known[toolchain] = timed_of(whole, name, choice.threads, whole["device"]["label"])
    rows = tuple(
        Runtime(
            toolchain,
            versions[toolchain],
            each.dense_ms,
            each.pruned_ms,
            each.comparison,
            alone=NOT_COMPARED if each is timed else _across(timed, each, pruned=False),
            error=errors[toolchain],
            timed=None if each is timed else each,
        )
        for toolchain, each in known.items()
    )
    dense, pruned = (min(known, key=lambda each: getattr(known[each], f"{kind}_ms")) for kind in ("dense", "pruned"))
    speed = known[dense].comparison if dense == pruned else _across(known[dense], known[pruned], pruned=True)
    return Runtimes(rows, speed, tuple(left_out))


def joined(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first answer of several processes, with the samples of all, and the kernels of all that profiled."""
    names = answers[0].get("samples", {})
    samples = {
        name: {clock: [value for each in answers for value in each["samples"][name][clock]] for clock in clocks}
        for name, clocks in names.items()
    }
    rounds = [count for each in answers for count in each.get("rounds", ())]
    profiles = [each["kernels"] for each in answers if "kernels" in each]
    return {**answers[0], "samples": samples, "rounds": rounds, "profiles": profiles}


def _across(before: Timed, after: Timed, *, pruned: bool) -> Comparison:
    """Compare the dense model of one runtime with the dense, or the pruned, model of another."""
    sides = (_copies(before, pruned=False), _copies(after, pruned=pruned))
    return across(*sides, (before.rounds, after.rounds))


def _copies(timed: Timed, *, pruned: bool) -> Copies:
    copies = (timed.pruned, timed.pruned_again) if pruned else (timed.dense, timed.control)
    return [on_clock(each, timed.clock) for each in copies if each is not None]


def _failed(toolchain: str, answer: Answer, tolerance: float) -> LeftOut:
    if isinstance(answer, Failure):
        return LeftOut(toolchain, answer.reason, "`%hwprune doctor` checks the toolchain")
    error = max(errors_of(answer).values(), default=0.0)
    reason = f"its outputs are off by {error:.1e} of the largest value (tolerance {tolerance:g})"
    return LeftOut(toolchain, reason, f"`--toolchain {toolchain}` finds the first wrong layer")
