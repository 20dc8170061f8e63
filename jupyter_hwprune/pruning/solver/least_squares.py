"""The best values of the weights that a mask keeps."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-30
CONVERGED = 1e-13


def conjugate_gradients(
    pruned: Tensor, pull: Tensor, keep: Tensor, hessian: Tensor, steps: int, *, least: float = 0.0
) -> float:
    """Lower the error tr (W - Q)^T H (W - Q) over the entries kept of `pruned`, in place, and return by how much.

    pruned, keep [D, K], each column (a neuron) by itself; pull = H (W - pruned) [D, K], which is used up.
    Preconditioned by the diagonal; each step is one product with the Hessian for all neurons, and the last one where
    it gains less than `least`.
    """
    scale = hessian.diagonal().reciprocal()[:, None]  # [D, 1]
    kept = keep.to(pruned.dtype)
    residual = pull.mul_(kept)  # [D, K]
    direction = residual * scale
    slope = (residual * direction).sum(0)  # [K]
    first, gone = slope, 0.0
    for _ in range(steps):
        ahead = (hessian @ direction).mul_(kept)
        length = slope / (direction * ahead).sum(0).clamp_min(TINY)
        gain = float((length * slope).sum(dtype=torch.float64))
        gone += gain
        pruned.addcmul_(direction, length)
        if gain < least:
            break
        residual.addcmul_(ahead, length, value=-1)
        scaled = torch.mul(residual, scale, out=ahead)
        before, slope = slope, (residual * scaled).sum(0)
        if bool((slope <= CONVERGED * first).all()):
            break
        direction.mul_(slope / before.clamp_min(TINY)).add_(scaled)
    return gone
