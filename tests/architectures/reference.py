"""The dense model under the mask of what was removed: the one standard for our surgery and for others'."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class OverKept(nn.Module):
    """A normalisation of the smaller model in its place in the dense one."""

    def __init__(self, small: nn.Module, kept: Tensor, dim: int) -> None:
        super().__init__()
        self.small, self.kept, self.dim = small, kept, dim

    def forward(self, x: Tensor) -> Tensor:
        y = self.small(x.index_select(self.dim, self.kept))
        return torch.zeros_like(x).index_copy(self.dim, self.kept, y)


def masked(dense: nn.Module, small: nn.Module, keep: Mapping[str, Tensor]) -> nn.Module:
    """Put zeros in the dense model where the smaller has nothing; a norm over channels counts those that are left."""
    reference = copy.deepcopy(dense)
    with torch.no_grad():
        for name, tensor in reference.named_parameters():
            if name in keep:  # of a weight norm, the scale of a row is its zero: nothing by nothing is no number
                mask = keep[name].any(0) if name.endswith("original1") else keep[name]
                tensor.mul_(mask)
    for name, module in list(reference.named_modules()):
        kind = type(module).__name__
        if "Norm" in kind and "Batch" not in kind and "Parametri" not in kind and f"{name}.weight" in keep:
            kept = keep[f"{name}.weight"].nonzero().flatten()
            stand_in = OverKept(small.get_submodule(name), kept, 1 if kind in {"GroupNorm", "LayerNorm2d"} else -1)
            reference.set_submodule(name, stand_in)
    return reference


def unsettle(model: nn.Module) -> None:
    """Give statistics and weights that are all alike values that would show a channel in another's place."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1 and ".original" not in name and "._" not in name:
                if name.endswith("inv_freq"):
                    continue
                tensor.add_(torch.randn(tensor.shape) * 0.2)
