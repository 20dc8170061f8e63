"""One more candidate, where layers got slower by pruning: the model with these left dense."""

from dataclasses import dataclass

from .measurement import Comparison


@dataclass(frozen=True)
class Tried:
    """What the whole model gains if `layers` stay dense, timed in turn with the model of the report.

    `without` compares dense with the report's model in that call, `speed` with the other one; `gain` is how many times
    faster the other one is than the report's.
    """

    layers: tuple[str, ...]
    without: Comparison
    speed: Comparison
    gain: Comparison
