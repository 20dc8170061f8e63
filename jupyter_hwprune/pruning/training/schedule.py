"""Schedules: how the sparsity grows from one pruning step to the next."""

from dataclasses import dataclass
from typing import Any

from ...core.errors import InputError
from ...core.nearest import did_you_mean
from ...core.options import OPTIONS
from ...core.pattern import NM, Depth, Pattern

MOST_STEPS = 1000


@dataclass(frozen=True)
class Stage:
    """One pruning step: `sparsity` is the share of the dense model removed after it."""

    pattern: Pattern
    sparsity: float


def sparsities(schedule: str, final: float, steps: int) -> tuple[float, ...]:
    """Return the share removed after each step; the last one is `final`.

    `iterative` grows by equal steps; `cubic` removes most in the first steps, while many weights are
    redundant (Zhu & Gupta 2017, arXiv:1710.01878, equation 1 from zero).
    """
    if schedule == "one-shot":
        return (final,)
    done = [(step + 1) / steps for step in range(steps - 1)]
    if schedule == "cubic":
        done = [1 - (1 - share) ** 3 for share in done]
    return (*(final * share for share in done), final)


def check_schedule(schedule: Any, steps: Any, finetune: Any, *, recovers: bool) -> None:
    """Raise InputError unless the schedule exists, its steps are a whole number, and something trains after each."""
    if finetune is not None and not callable(finetune):
        raise InputError(f"finetune is a {type(finetune).__name__}; it has to be a function that trains a model.")
    if schedule not in OPTIONS["schedule"].choices:
        near = did_you_mean(schedule, OPTIONS["schedule"].choices)
        raise InputError(f"There is no schedule {schedule!r}.{near} Use one-shot, iterative or cubic.")
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise InputError(f"--steps is {steps!r}; give a whole number from 1 to {MOST_STEPS}.")
    if schedule == "one-shot" and steps > 1:
        raise InputError(f"--steps is {steps}, but one-shot has one step. Use --schedule iterative or cubic.")
    if schedule != "one-shot" and finetune is None and not recovers:
        raise InputError(
            f"The schedule {schedule} prunes in steps with training after each, but there is no fine-tune step. Write "
            "one as the cell under %%hwprune, give finetune=, a function that trains the model it receives, or recover "
            "without labels: --recover 200."
        )


def check_steps(pattern: Pattern, steps: int) -> None:
    """Raise InputError for several steps of a pattern that has one."""
    if steps > 1 and isinstance(pattern, Depth):
        raise InputError(
            f"--steps is {steps}, but the pattern depth removes its blocks in one step. Remove --schedule."
        )


def stages(schedule: str, pattern: Pattern, sparsity: float, steps: int) -> tuple[Stage, ...]:
    """Return the pruning steps. With n:m, n falls as the share grows: 2:4 in three equal steps is 3:4, 3:4, 2:4."""
    shares = sparsities(schedule, sparsity, steps)
    if not isinstance(pattern, NM):
        return tuple(Stage(pattern, share) for share in shares)
    kept = [max(pattern.n, min(pattern.m - 1, round(pattern.m * (1 - share)))) for share in shares[:-1]]
    return tuple(Stage(step, step.sparsity) for step in (*(NM(n, pattern.m) for n in kept), pattern))
