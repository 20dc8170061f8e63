"""How much a measurement may take: rounds, and seconds within which there are more of them."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class Effort:
    """Rounds of all cases in turn, and seconds: at least the fewest rounds, and then more while there is time.

    A round gives each case a block of calls of `block_s` seconds. Where a profiled round takes long, there are
    `slow_profile_rounds` of them once `slow_profile_round_s` have passed. Raises InputError for fewer than three
    rounds, of which no interval can be had.
    """

    min_rounds: int = 15
    max_rounds: int = 60
    measure_s: float = 12.0
    block_s: float = 0.02
    min_profile_rounds: int = 7
    profile_s: float = 4.0
    slow_profile_rounds: int = 3
    slow_profile_round_s: float = 8.0
    profile: bool = True

    def __post_init__(self) -> None:
        if self.min_rounds < 3 or self.max_rounds < self.min_rounds:
            raise InputError(
                f"An effort of {self.min_rounds} to {self.max_rounds} rounds gives no interval; at least 3 are needed."
            )


FULL = Effort()
QUICK = Effort(min_rounds=7, max_rounds=15, measure_s=2.0, block_s=0.01, profile=False)
"""For many candidates that are to be ranked: no kernels, and a wider interval."""
