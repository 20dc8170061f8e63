"""How long a measurement takes: its processes, their fewest and most rounds, and the seconds for them."""

from dataclasses import dataclass

from ..core.errors import InputError


@dataclass(frozen=True)
class Effort:
    """Limits of a measurement in one process: at least `min_rounds`, then more until `measure_s` or `max_rounds`.

    If the first process leaves a doubt, up to `processes` in all compile and time everything again, unless compiling
    takes longer than `compile_s`.
    It ends after `clear_rounds` if each of these has shown every candidate clearly faster, or clearly slower, than
    dense. In each round every case runs a block of calls that takes about `block_s` seconds. If profiling has taken
    longer than `slow_profile_round_s`, it stops after `slow_profile_rounds`. Raises InputError for fewer than three
    rounds, which are too few for an interval. `peak_memory` runs each compiled file once more, in a process of its own.
    """

    processes: int = 1
    compile_s: float = 30.0
    min_rounds: int = 7
    clear_rounds: int = 7
    max_rounds: int = 40
    measure_s: float = 4.0
    block_s: float = 0.02
    min_profile_rounds: int = 7
    profile_s: float = 4.0
    slow_profile_rounds: int = 3
    slow_profile_round_s: float = 8.0
    profile: bool = True
    peak_memory: bool = True

    def __post_init__(self) -> None:
        if self.min_rounds < 3 or self.max_rounds < self.min_rounds:
            raise InputError(
                f"An effort of {self.min_rounds} to {self.max_rounds} rounds gives no interval: min_rounds has to be "
                "at least 3, and max_rounds at least min_rounds."
            )


FULL = Effort(processes=3)
QUICK = Effort(min_rounds=7, max_rounds=15, measure_s=2.0, block_s=0.01, profile=False, peak_memory=False)
"""For ranking many candidates: no kernel profile, no peak of memory, and a wider interval."""
