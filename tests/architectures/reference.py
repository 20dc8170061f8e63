"""The dense model under the mask of what was removed: the one standard for our surgery and for others'."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

OF_ONE = ("Batch", "Instance", "Parametri")  # norms of each channel by itself, and modules with a weight norm
COMPUTED = ("inv_freq", "weight_u", "weight_v", "_mask")  # vectors whose values follow from others


class OverKept(nn.Module):
    """A normalisation of the smaller model in its place in the dense one; None keeps what is not zero."""

    def __init__(self, small: nn.Module, kept: Tensor | None, dim: int) -> None:
        super().__init__()
        self.small, self.kept, self.dim = small, kept, dim
        self.weight = getattr(small, "weight", None)  # whose dtype some models ask for
        self.eps = float("nan")  # torch's fused encoder layers, which would pass this by, ask for equal ones

    def forward(self, x: Tensor) -> Tensor:
        kept = x.flatten(0, -2).any(0).nonzero().flatten() if self.kept is None else self.kept
        y = self.small(x.index_select(self.dim, kept))
        return torch.zeros_like(x).index_copy(self.dim, kept, y)


def masked(dense: nn.Module, small: nn.Module, keep: Mapping[str, Tensor]) -> nn.Module:
    """Put zeros in the dense model where the smaller has nothing; a norm over channels counts those that are left."""
    reference = copy.deepcopy(dense)
    with torch.no_grad():
        for name, tensor in reference.named_parameters():
            if name in keep:  # of a weight norm, the scale of a row is its zero: nothing by nothing is no number
                tensor.mul_(keep[name].any(0) if _scaled_by_row(reference, name) else keep[name])
    for name, module in list(reference.named_modules()):
        kind = type(module).__name__
        if "Norm" in kind and not any(word in kind for word in OF_ONE) and f"{name}.weight" in keep:
            kept = keep[f"{name}.weight"].nonzero().flatten()
            first = kind in {"GroupNorm", "LayerNorm2d"} or getattr(module, "data_format", "") == "channels_first"
            reference.set_submodule(name, OverKept(small.get_submodule(name), kept, 1 if first else -1))
        elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and not module.elementwise_affine:
            reference.set_submodule(name, OverKept(small.get_submodule(name), None, -1))
    return reference


def _scaled_by_row(model: nn.Module, name: str) -> bool:
    """Whether the parameter is the direction of a weight norm that has a scale for each of its rows."""
    scales = {"original1": "original0", "weight_v": "weight_g"}
    home, _, own = name.rpartition(".")
    scale = getattr(model.get_submodule(home), scales.get(own, ""), None)
    return isinstance(scale, Tensor) and scale.shape[0] > 1


def unsettle(model: nn.Module) -> None:
    """Give statistics and weights that are all alike values that would show a channel in another's place."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1 and ".original" not in name and "._" not in name:
                if name.endswith(COMPUTED):
                    continue
                tensor.add_(torch.randn(tensor.shape) * 0.2)
