"""Score how much each weight matters; higher is kept. `channels` and `taylor` score channels."""

from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """Score each weight by its absolute value (Han et al. 2015, arXiv:1506.02626). [..] -> float32 [..]."""
    return weight.detach().abs().float()


def activation(weight: Tensor, norms: Tensor) -> Tensor:
    """Score each weight by its absolute value times the L2 norm of its input (Sun et al. 2023, arXiv:2306.11695).

    weight [.., D], norms [D] over the calibration inputs -> float32 [.., D].
    """
    return magnitude(weight) * norms.float()
