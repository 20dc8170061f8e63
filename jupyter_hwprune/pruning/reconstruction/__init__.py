"""Remove channels by what the layers that read them lose, and mend those layers: structured optimal brain surgery.

Each layer that sums over channels is a least-squares problem in its calibration inputs. Removing channels from it
costs what the channels that stay cannot take over (optimal brain surgeon, Hassibi and Stork 1992, for groups of weights
as in ZipLM, Kurtic et al. 2023, arXiv:2302.04089): `greedy` removes them one after the other by that, and `scores` adds
it up over the layers that read the same channels. After the cut, `refit` solves each layer anew, in the model's order,
on the inputs that the smaller model gives it towards the dense model's outputs (ThiNet, Luo et al. 2017,
arXiv:1707.06342; asymmetric reconstruction, He et al. 2017, arXiv:1707.06168).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.errors import counted, first_of
from ...report.words.numbers import share
from ..calibration import Calibration
from ..graph import Coupled
from ..layers import Weight
from ..method import Tell
from .consumers import shift
from .greedy import Problem
from .refit import refit
from .scores import Solvable, each_solvable, second_order

__all__ = ["Reconstruction"]


@dataclass
class Reconstruction:
    """What the layers of `dense` that read channels can do about those that go; `weights` describe the dense ones."""

    dense: nn.Module
    coupled: Coupled
    weights: Sequence[Weight]
    calibration: Calibration
    _last: tuple[str, list[Solvable]] = ("", [])

    def scores(self, progress: Tell = lambda _set: None) -> dict[str, Tensor]:
        """Score the units of the sets that some layer sums over, see `second_order`."""
        return second_order(self.dense, self.coupled.sets, self.weights, self.calibration, progress)

    def make_up(self, trial: nn.Module, name: str, gone: Tensor) -> None:
        """Have the layers of a copy of `dense` make up for units [n] of one set, which are zero there already."""
        if self._last[0] != name:
            own = [each for each in self.coupled.sets if each.name == name]
            found: list[Solvable] = []
            each_solvable(self.dense, own, self.weights, self.calibration, lambda _, each: found.append(each))
            self._last = name, found
        for each in self._last[1]:
            weight, problem = each.consumer.weight, each.problem
            left = Problem(problem.inverse, problem.weight, problem.columns)
            left.remove(gone)
            kept = torch.ones(problem.weight.shape[1], dtype=torch.bool)
            kept[problem.columns[gone].flatten()] = False
            whole = torch.zeros_like(problem.weight)  # [K, D]
            whole[:, kept] = left.weight
            with torch.no_grad():
                own_weight = weight.of(trial)
                own_weight.copy_(weight.from_matrix(whole.reshape(weight.as_matrix(own_weight).shape)))
                shift(trial, weight.name, each.norm, (problem.weight - whole) @ each.mean.to(whole.dtype))

    def refit(self, small: nn.Module, keep: Mapping[str, Tensor], progress: Tell = lambda _layer: None) -> str:
        """Solve the layers of the smaller model that lost inputs anew, in place, and say which; see `refit`."""
        done = refit(self.dense, small, self.coupled, keep, self.weights, self.calibration, progress)
        why = "; ".join(f"{name}: {reason}" for name, reason in list(done.reasons.items())[:4])
        more = "; ..." if len(done.reasons) > 4 else ""
        others = f" Not {why}{more}." if why else ""
        total = len(done.errors) + len(done.reasons)
        if not done.errors:
            return f"None of {counted(total, 'layer')} that lost inputs could be refitted.{others}"
        before, after = (sum(each[at] for each in done.errors.values()) / len(done.errors) for at in (0, 1))
        return (
            f"Refitted by least squares: {len(done.errors)} of {counted(total, 'layer')} that lost inputs, among them "
            f"{first_of(done.errors)}. On calibration rows that the fit was not made on, their outputs are "
            f"{share(after)} of their energy away from the dense model's, and {share(before)} without.{others}"
        )
