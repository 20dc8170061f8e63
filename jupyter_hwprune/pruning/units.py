"""What the units of each set of channels are worth, and what share each set gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..report import Sensitivity
from .allocation import share_out
from .channels import magnitudes
from .graph import ChannelSet, Coupled
from .method import Method
from .taylor import taylor


@dataclass
class Rater:
    """Rates the units of a model's sets by the method asked for, and keeps the scan that it made on the way."""

    dense: nn.Module
    method: Method
    sparsity: float
    progress: Callable[[str], None]
    sensitivity: Sensitivity | None = field(default=None, init=False)

    def scores(self, coupled: Coupled) -> Mapping[str, Tensor]:
        if self.method.importance != "taylor":
            return magnitudes(self.dense, coupled)
        assert self.method.calibration is not None
        return taylor(self.dense, coupled, self.method.calibration.batches, self.method.calibration.labels)

    def shares(self, coupled: Coupled, rated: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return the same share for every set, or by a scan in which each alone has its worst units at zero."""
        sets = {each.name: each for each in coupled.sets}
        if not self.method.scans:
            return dict.fromkeys(sets, self.sparsity)
        ones = {name: torch.ones_like(p) for name, p in self.dense.named_parameters(remove_duplicate=False)}
        weights = {name: int(each.sums(ones).sum()) for name, each in sets.items()}

        def prune_one(trial: nn.Module, name: str, share: float) -> float:
            gone = rated[name].argsort()[: min(round(share * sets[name].units), sets[name].units - 1)]
            _silence(trial, sets[name], gone)
            return len(gone) / sets[name].units

        groups = {name: weights[name] // each.units for name, each in sets.items()}
        self.sensitivity, shares = share_out(
            self.dense, self.method, self.sparsity, weights, groups, prune_one, self.progress
        )
        return shares


def _silence(model: nn.Module, channels: ChannelSet, units: Tensor) -> None:
    """Zero all weights of some units, which is to remove them but for normalisations over channels."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for slot in channels.slots:
            if slot.parameter:
                tensors[slot.tensor].index_fill_(slot.dim, slot.positions[units].flatten(), 0.0)
