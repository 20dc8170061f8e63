"""The Hessian of a layer's error, damped until it is positive definite."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import PruneError

RAISE = 10.0
LEAST = 1e-6
MOST = 1e3


def damped(gram: Tensor, damping: float) -> tuple[Tensor, Tensor, float, int]:
    """Return the Hessian scaled to a mean diagonal of 1, its lower Cholesky factor, the damping used, times raised.

    Raises PruneError where the Gram matrix is not finite, or no damping makes it positive definite.
    """
    if not bool(torch.isfinite(gram).all()):
        raise PruneError(
            "The layer's calibration inputs, or their products, hold NaN or infinite values, so no second-order "
            "solution exists. Calibrate with inputs for which the model's activations are finite, in float32."
        )
    products = gram.detach().float()
    mean = float(products.diagonal().double().mean())
    hessian = products / mean if mean > 0 else torch.eye(len(products), device=gram.device)
    share, raised = damping, 0
    while True:
        own = hessian.clone()
        own.diagonal().add_(share)
        factor, failed = torch.linalg.cholesky_ex(own)
        if not int(failed):
            return own, factor, share, raised
        share, raised = max(share * RAISE, LEAST), raised + 1
        if share > MOST:
            raise PruneError(
                f"The layer's Gram matrix stays indefinite with {MOST:g} times its mean diagonal added to it, so it is "
                "no sum of x^T x over inputs. Collect the calibration inputs again."
            )
