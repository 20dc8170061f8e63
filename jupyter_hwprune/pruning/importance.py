"""How much each weight, or each channel, matters. Higher is kept."""

from __future__ import annotations

import torch
from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """Score each weight by its absolute value (Han et al. 2015, arXiv:1506.02626). [..] -> float32 [..]."""
    return weight.detach().abs().float()


def channel_magnitude(weight: Tensor, dim: int) -> Tensor:
    """Score each channel along `dim` by the L2 norm of its weights (Li et al. 2016, arXiv:1608.08710). -> [C]."""
    norms: Tensor = torch.linalg.vector_norm(weight.detach().float().movedim(dim, 0).flatten(1), dim=1)
    return norms


def activation(weight: Tensor, norms: Tensor) -> Tensor:
    """Score each weight by its absolute value times the L2 norm of its input (Sun et al. 2023, arXiv:2306.11695).

    weight [.., D], norms [D] over the calibration inputs -> float32 [.., D].
    """
    return magnitude(weight) * norms.float()
