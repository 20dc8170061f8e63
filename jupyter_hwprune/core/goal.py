"""The goal of a search: limits on a model's time, energy, power and size, and on what its score may lose."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .errors import InputError

FORMS = {
    "latency_ms": ("at most {} ms a batch", "milliseconds"),
    "speedup": ("at least {}x as fast", "how many times faster than the dense model"),
    "energy_mj": ("at most {} mJ a batch", "millijoules"),
    "power_mw": ("at most {} mW on average", "milliwatts"),
    "size_mb": ("at most {} MB of files", "megabytes"),
    "max_drop": ("the score at most {} lower", "the most that the score may fall"),
}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The limits that the pruned model has to meet, None for no limit: latency, energy and power are those of a batch.

    `speedup` is over the dense model of the same toolchain, `size_mb` that of the compiled files in units of a million
    bytes, and `max_drop` the dense model's score minus the pruned one's. Raises InputError for values that no model can
    reach.
    """

    latency_ms: float | None = None
    speedup: float | None = None
    energy_mj: float | None = None
    power_mw: float | None = None
    size_mb: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in self._given():
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError(f"{flag} is {value!r}; give a number, {FORMS[name][1]}.")
            if value <= 0 and not (name == "max_drop" and value == 0):
                raise InputError(f"{flag} is {value:g}; give a number above 0, {FORMS[name][1]}.")
        if self.speedup is not None and self.speedup <= 1:
            raise InputError(
                f"--speedup is {self.speedup:g}, which the dense model reaches already; give more than 1, such as 2."
            )

    @classmethod
    def of(cls, **asked: Any) -> Goal | None:
        """Return the goal of these values; None if all of them are None."""
        return None if all(value is None for value in asked.values()) else cls(**asked)

    @property
    def limits(self) -> bool:
        """Whether it limits anything that the toolchain measures, beside the score."""
        return any(name != "max_drop" for name, _ in self._given())

    def __str__(self) -> str:
        return ", ".join(FORMS[name][0].format(f"{value:g}") for name, value in self._given())

    def _given(self) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name, value in asdict(self).items() if value is not None)
