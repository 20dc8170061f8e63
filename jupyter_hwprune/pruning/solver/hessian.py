"""The Hessian of a layer's error: damped until it is positive definite, factored, applied, and solved for."""

import torch
from torch import Tensor

from ...core.errors import PruneError

RAISE = 10.0
LEAST = 1e-6
MOST = 1.0
PANEL = 256  # columns at once: torch's own factorization spends half of its time to clear the upper half
PIECE = 1 << 22  # entries of what is worked on at once, so that a large layer takes little more than its results
TINY = 1e-30
CONVERGED = 1e-13


def damped(gram: Tensor, damping: float) -> tuple[Tensor, Tensor, float, int]:
    """Return the Hessian scaled to a mean diagonal of 1, its lower Cholesky factor, the damping used, times raised.

    `gram` float32 [D, D] is used up: the Hessian takes its memory. Raises PruneError where the Gram matrix is not
    finite, or no damping makes it positive definite.
    """
    if not all(bool(torch.isfinite(rows.sum(dtype=torch.float64))) for rows in torch.split(gram, PANEL)):
        raise PruneError(
            "The products of the layer's calibration inputs hold NaN or infinite values, so no second-order solution "
            "exists. Calibrate with inputs for which the model's activations are finite, in float32."
        )
    mean = abs(float(gram.diagonal().mean(dtype=torch.float64)))
    hessian = gram.div_(mean) if mean > 0 else torch.eye(len(gram))
    share, added, raised = damping, 0.0, 0
    while True:
        hessian.diagonal().add_(share - added)
        factor = hessian.clone()
        if cholesky(factor):
            return hessian, factor, share, raised
        share, added, raised = max(share * RAISE, LEAST), share, raised + 1
        if share > MOST:
            raise PruneError(
                f"The layer's Gram matrix is not positive definite even with {MOST:g} times its mean diagonal added, "
                "so it is not a sum of x x^T over inputs. Collect the calibration inputs again."
            )


def cholesky(left: Tensor) -> bool:
    """Write the lower factor L of L L^T over a matrix [D, D]; return False where that is not positive definite."""
    width = len(left)
    for start in range(0, width, PANEL):
        stop = min(start + PANEL, width)
        own = slice(start, stop)
        factor, failed = torch.linalg.cholesky_ex(left[own, own])
        if int(failed):
            return False
        panel = torch.linalg.solve_triangular(factor, left[stop:, own].mT, upper=False).mT
        left[own, own], left[stop:, own] = factor, panel
        left[own, stop:] = 0.0
        for first in range(stop, width, PANEL):
            below, beside = slice(first, None), slice(first, first + PANEL)
            left[below, beside].addmm_(panel[first - stop :], panel[first - stop : first - stop + PANEL].mT, alpha=-1)
    return True


def pieces(values: Tensor) -> list[slice]:
    """Cut the columns of values [D, K], neurons of a layer, so that each piece takes at most about 16 MiB."""
    size = max(PANEL, PIECE // len(values))
    return [slice(start, start + size) for start in range(0, values.shape[1], size)]


def energy(weight: Tensor, hessian: Tensor) -> float:
    """Return tr W^T H W for weight [D, K], with half of the work that H W is, as H is symmetric."""
    total = 0.0
    for start in range(0, len(weight), PANEL):
        own, below = slice(start, start + PANEL), slice(start + PANEL, None)
        half = torch.addmm(hessian[below, own].mT @ weight[below], hessian[own, own], weight[own], beta=2)
        total += dot(half, weight[own])
    return total


def lower_product(factor: Tensor, other: Tensor) -> Tensor:
    """Return L X for a lower triangular L [D, D] and X [D, K]."""
    result = torch.empty_like(other)
    for start in range(0, len(other), PANEL):
        stop = start + PANEL
        torch.mm(factor[start:stop, :stop], other[:stop], out=result[start:stop])
    return result


def dot(one: Tensor, other: Tensor) -> float:
    return float(torch.dot(one.flatten(), other.flatten()))


def conjugate_gradients(
    pruned: Tensor, pull: Tensor, keep: Tensor, hessian: Tensor, steps: int, *, least: float = 0.0
) -> Tensor:
    """Lower the error tr (W - Q)^T H (W - Q) over the entries kept of `pruned`, in place; by how much each column. [K].

    pruned, keep [D, K], each column (a neuron) by itself; pull = H (W - pruned) [D, K], which is used up.
    Preconditioned by the diagonal; each step is one product with the Hessian for all neurons of a piece, and the last
    one where it gains less than `least`, the piece's share of it.
    """
    least /= pruned.shape[1]
    gone = [
        _conjugate_gradients(pruned[:, own], pull[:, own], keep[:, own], hessian, steps, least)
        for own in pieces(pruned)
    ]
    return torch.cat(gone)


def _conjugate_gradients(
    pruned: Tensor, pull: Tensor, keep: Tensor, hessian: Tensor, steps: int, least: float
) -> Tensor:
    scale = hessian.diagonal().reciprocal()[:, None]  # [D, 1]
    kept = keep.to(pruned.dtype)
    residual = pull.mul_(kept)  # [D, K]
    direction = residual * scale
    slope = (residual * direction).sum(0)  # [K]
    first, gone = slope, torch.zeros_like(slope)
    for _ in range(steps):
        ahead = (hessian @ direction).mul_(kept)
        length = slope / (direction * ahead).sum(0).clamp_min(TINY)
        gain = length * slope  # [K]
        gone += gain
        pruned.addcmul_(direction, length)
        if float(gain.mean()) < least:
            break
        residual.addcmul_(ahead, length, value=-1)
        scaled = torch.mul(residual, scale, out=ahead)
        before, slope = slope, (residual * scaled).sum(0)
        if bool((slope <= CONVERGED * first).all()):
            break
        direction.mul_(slope / before.clamp_min(TINY)).add_(scaled)
    return gone
