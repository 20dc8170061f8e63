"""Is the smaller model the dense one with channels masked out? The dense model under the mask is the reference.

A removed channel's weights are zeros in the reference. A normalisation over channels is the one thing where zeros are
not absence: its mean would count them. There the reference normalises over the channels that are left.

Both carry weights drawn at random for the proof. A model's own may hide a fault: a branch that ends in zeros, as many
are initialised, lets anything before it pass.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from ..errors import first_line
from ..example import Example

OVER_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
TOLERANCE = 1e-4  # float32 sums in another order stay far below; a misaligned channel is far above
LONGER = 4  # a sequence of one token cannot tell one attention head from another


def fault_of(dense: nn.Module, example: Example, small: nn.Module, keep: dict[str, Tensor]) -> str | None:
    """Return what is wrong with the smaller model, or None where it equals the dense one under the mask `keep`."""
    try:
        reference, own = copy.deepcopy(dense).float().eval(), copy.deepcopy(small).float().eval()
        _draw_weights(reference, own, keep)
        _mask(reference, own, keep)
        fault = _difference(reference, own, example.as_float32())
        if fault is None and (longer := _longer(example.as_float32(), reference)) is not None:
            fault = _difference(reference, own, longer)
    except Exception as error:  # noqa: BLE001 - whatever the user's forward raises, it means the same
        return f"the smaller model does not run ({first_line(error)})"
    return fault


def _difference(reference: nn.Module, own: nn.Module, example: Example) -> str | None:
    expected = example.outputs(reference)
    outputs = example.outputs(own)
    if [t.shape for t in outputs] != [t.shape for t in expected]:
        return "the model's output changes its shape"
    difference = relative_difference(outputs, expected)
    return None if difference <= TOLERANCE else f"its output is off by {difference:.1e} of its largest value"


def _draw_weights(reference: nn.Module, own: nn.Module, keep: dict[str, Tensor]) -> None:
    """Give the reference random weights of a size that carries activations through, and `own` those that are kept."""
    generator = torch.Generator().manual_seed(0)
    small = dict(own.named_parameters(remove_duplicate=False)) | dict(own.named_buffers())
    with torch.no_grad():
        for name, tensor in (*reference.named_parameters(), *_statistics(reference)):
            if not tensor.is_floating_point():
                continue
            if tensor.ndim >= 2:
                spread = math.sqrt(2 * tensor.shape[0] / tensor.numel())
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
            else:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        for name, tensor in (*reference.named_parameters(remove_duplicate=False), *_statistics(reference)):
            kept = tensor[keep[name]].reshape(small[name].shape) if name in keep else tensor
            small[name].copy_(kept)


def _statistics(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the buffers that are learnt; others, such as tables of positions, mean what they say."""
    return [(name, b) for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var"))]


def _mask(reference: nn.Module, own: nn.Module, keep: dict[str, Tensor]) -> None:
    tensors = dict(reference.named_parameters(remove_duplicate=False)) | dict(reference.named_buffers())
    with torch.no_grad():
        for name, mask in keep.items():
            tensors[name].mul_(mask)
    for name, module in list(reference.named_modules()):
        if isinstance(module, OVER_CHANNELS) and f"{name}.weight" in keep:
            kept = keep[f"{name}.weight"].nonzero().flatten()
            stand_in = NormOverKept(own.get_submodule(name), kept, dim=1 if isinstance(module, nn.GroupNorm) else -1)
            parent, _, last = name.rpartition(".")
            setattr(reference.get_submodule(parent), last, stand_in)


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


def _longer(example: Example, reference: nn.Module) -> Example | None:
    """Return the example with more tokens than its one, or None where it has more or the model takes no more."""
    longer = example.lengthened(LONGER)
    if longer is None:
        return None
    try:
        longer.outputs(reference)
    except Exception:  # noqa: BLE001 - the second axis was no sequence after all, or its length is fixed
        return None
    return longer


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
