"""Is the smaller model the dense one with channels masked out? The dense model under the mask is the reference.

A removed channel's weights are zeros in the reference. A normalisation over channels is the one thing where zeros are
not absence: its mean would count them. There the reference normalises over the channels that are left.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from ..example import Example

OVER_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class NormOverKept(nn.Module):
    """A normalisation of the smaller model, standing in the dense one: the removed channels come out as zeros."""

    kept: Tensor  # [C'] positions

    def __init__(self, small: nn.Module, kept: Tensor, dim: int) -> None:
        super().__init__()
        self.small, self.dim = small, dim
        self.register_buffer("kept", kept)

    def forward(self, x: Tensor) -> Tensor:
        y = self.small(x.index_select(self.dim, self.kept))
        return torch.zeros_like(x).index_copy(self.dim, self.kept, y)


def masked_dense_outputs(dense: nn.Module, example: Example, small: nn.Module, keep: dict[str, Tensor]) -> list[Tensor]:
    """Run `dense` in float32 with all that `keep` does not keep set to zero."""
    reference = copy.deepcopy(dense).float().eval()
    tensors = dict(reference.named_parameters(remove_duplicate=False)) | dict(reference.named_buffers())
    with torch.no_grad():
        for name, mask in keep.items():
            tensors[name].mul_(mask)
    for name, module in list(reference.named_modules()):
        if isinstance(module, OVER_CHANNELS) and f"{name}.weight" in keep:
            kept = keep[f"{name}.weight"].nonzero().flatten()
            own_small = copy.deepcopy(small.get_submodule(name)).float().eval()
            stand_in = NormOverKept(own_small, kept, dim=1 if isinstance(module, nn.GroupNorm) else -1)
            parent, _, own = name.rpartition(".")
            setattr(reference.get_submodule(parent), own, stand_in)
    return example.as_float32().outputs(reference)


def relative_difference(actual: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference of any output, relative to that output's largest magnitude; NaN counts as inf."""
    worst = 0.0
    for a, e in zip(actual, expected, strict=True):
        if not e.numel():
            continue
        scale = e.float().abs().max().clamp_min(torch.finfo(torch.float32).tiny)
        difference = float((a.float() - e.float()).abs().max() / scale)
        worst = max(worst, float("inf") if math.isnan(difference) else difference)
    return worst
