"""How the weights that go are found: what a weight is worth, on which inputs, and how much each layer gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..choice import Allocation, Choice, Importance
from .calibration import Calibration


@dataclass(frozen=True)
class Method:
    """`dense` are names of layers to leave alone; `calibration` is there wherever the importance looks at inputs."""

    importance: Importance = "magnitude"
    allocation: Allocation = "uniform"
    dense: tuple[str, ...] = ()
    permute: bool = False
    calibration: Calibration | None = None
    score: Callable[[nn.Module], float] | None = None

    @classmethod
    def of(cls, choice: Choice, calibration: Calibration | None, score: Callable[[nn.Module], float] | None) -> Method:
        return cls(choice.importance, choice.allocation, choice.dense, choice.permute, calibration, score)


MAGNITUDE = Method()


def needs_inputs(choice: Choice) -> bool:
    return choice.importance != "magnitude" or choice.allocation.startswith("sensitivity")
