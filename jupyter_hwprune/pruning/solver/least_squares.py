"""The best values of the weights that a mask keeps."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-30


def conjugate_gradients(dense: Tensor, start: Tensor, keep: Tensor, hessian: Tensor, steps: int) -> Tensor:
    """Minimise (W - Q)^T H (W - Q) over the entries kept, each column of [D, K] (a neuron) by itself.

    Preconditioned by the diagonal; each step is one product with the Hessian for all neurons.
    """
    scale = hessian.diagonal().reciprocal()[:, None]  # [D, 1]
    pruned = start.clone()
    residual = (hessian @ (dense - pruned)).mul_(keep)  # [D, K]
    direction = residual * scale
    slope = (residual * direction).sum(0)  # [K]
    first = slope.clone()
    for _ in range(steps):
        ahead = (hessian @ direction).mul_(keep)
        length = slope / (direction * ahead).sum(0).clamp_min(TINY)
        pruned.addcmul_(direction, length)
        residual.addcmul_(ahead, length, value=-1)
        scaled = torch.mul(residual, scale, out=ahead)
        before, slope = slope, (residual * scaled).sum(0)
        if bool((slope <= 1e-13 * first).all()):
            break
        direction.mul_(slope / before.clamp_min(TINY)).add_(scaled)
    return pruned
