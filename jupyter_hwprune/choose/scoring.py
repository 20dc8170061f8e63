"""Compute the user's score on copies, so that it cannot change the model."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..core.copying import copied
from ..core.errors import InputError, first_line
from ..core.interrupts import users_code
from ..report import Scores

Score = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Scorer:
    """Scores a copy on the device of `like`, the user's model; an `optional` score may be None."""

    score: Score
    like: nn.Module
    optional: bool = False

    def maybe(self, own: nn.Module) -> float | None:
        """Return the score of a copy of `own`; raises InputError unless it is a finite number."""
        return self.of(copied(own))

    def of(self, model: nn.Module) -> float | None:
        """Return the score of the model itself; raises InputError unless it is a finite number."""
        try:
            with users_code(), torch.no_grad():  # a score takes no gradients, and torch warns of numbers that carry one
                value = self.score(model.to(device_of(self.like)))
            if value is None and self.optional:
                return None
            value = float(value.detach() if isinstance(value, torch.Tensor) else value)
        except Exception as error:
            raise InputError(
                f"The score could not be computed: {first_line(error)}. Give a function of the model, or an "
                "expression that uses it, that returns one number, higher is better."
            ) from error
        if not math.isfinite(value):
            raise InputError(f"The score of the model is {value}; give a finite number.")
        return value

    def __call__(self, own: nn.Module) -> float:
        value = self.maybe(own)
        if value is None:
            raise InputError("The score is None, not a number. Give --eval, or end the cell with a score.")
        return value

    def both(self, dense: float | None, pruned: nn.Module) -> Scores | None:
        """Return the scores of the dense and the pruned model; None if either is missing."""
        after = self.maybe(pruned)
        return None if dense is None or after is None else Scores(self.name, dense, after)

    @property
    def name(self) -> str:
        return str(getattr(self.score, "__name__", self.score))


@dataclass
class DenseScore:
    """The dense model's score, taken once; while it is None, each call tries again: a cell has to run before it."""

    scorer: Scorer | None
    dense: nn.Module
    _known: float | None = None

    def __call__(self) -> float | None:
        if self._known is None and self.scorer is not None:
            self._known = self.scorer.maybe(self.dense)
        return self._known


def device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
