"""Describe the effect of a channel cut on each weight."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..report import Layer, Skipped
from .channels import Surgery
from .graph.sets import module_of
from .layers import PRUNABLE, Weight, as_matrix, layers_with_weights
from .picture import draw


def describe_cut(
    dense: nn.Module,
    weights: Sequence[Weight],
    surgery: Surgery,
    macs: Mapping[str, int],
    small_macs: Mapping[str, int],
) -> tuple[list[Layer], list[Skipped]]:
    """Describe every weight that lost channels, and say why the layers that kept all of theirs did not.

    `weights` are those of `dense`. Normalisations and biases follow their layers and have no rows.
    """
    layers, skipped = [], []
    described = {each.parameter: each for each in weights}
    for name, module in layers_with_weights(dense):
        rows = [
            Layer(
                row,
                type(module).__name__,
                tuple(shape),
                pruned_shape=tuple(left),
                pattern=str(surgery.pattern),
                sparsity=round(1 - left.numel() / shape.numel(), 6),
                macs=macs.get(row),
                pruned_macs=small_macs.get(row),
                valid=valid,
                valid_groups=float(valid),
                picture=draw(matrix.flatten(1)),
            )
            for row, shape, left, valid, matrix in (
                _whole_layer(name, module, surgery)
                if isinstance(module, PRUNABLE)
                else _each_matrix(name, surgery, described)
            )
        ]
        layers += rows
        if not rows:
            weight = getattr(module, "weight", None)  # of a parametrized layer, computed
            shape = tuple(weight.shape) if isinstance(weight, Tensor) else ()
            reason = surgery.reasons.get(name) or "none of its channels was removed"
            skipped.append(Skipped(name, type(module).__name__, shape, reason))
    return layers, skipped


Cut = tuple[str, torch.Size, torch.Size, bool, Tensor]
"""A row's name, the shape before and after, whether the pattern holds, and the mask as [outputs, taps, inputs]."""


def _whole_layer(name: str, module: nn.Module, surgery: Surgery) -> Iterator[Cut]:
    """Describe the cut of a Linear or a convolution, whose weight may be computed from other tensors."""
    small = surgery.model.get_submodule(name)
    weight, left = module.weight, small.weight
    assert isinstance(weight, Tensor)
    assert isinstance(left, Tensor)
    mask = _mask(surgery.keep, name, weight.shape)
    if mask is not None:
        before, after = (as_matrix(w, m).shape[0] for w, m in ((weight, module), (left, small)))
        valid = after == before or after % surgery.pattern.multiple == 0
        yield name, weight.shape, left.shape, valid, as_matrix(mask, module)


def _mask(keep: Mapping[str, Tensor], name: str, shape: torch.Size) -> Tensor | None:
    """Return the mask of the layer's weight, or of the tensor of its shape that it is computed from."""
    weight = f"{name}.weight".lstrip(".")
    if weight in keep:
        return keep[weight]
    return next((mask for key, mask in keep.items() if module_of(key) == name and mask.shape == shape), None)


def _each_matrix(name: str, surgery: Surgery, described: Mapping[str | None, Weight]) -> Iterator[Cut]:
    """Describe the cut of every matrix of another module: an embedding's, an LSTM's, parameters in its own code."""
    for parameter, mask in surgery.keep.items():
        if module_of(parameter) != name or mask.ndim < 2:
            continue
        weight, shape = described.get(parameter), mask.shape
        left = torch.Size(int(mask.movedim(dim, 0).flatten(1).any(1).sum()) for dim in range(mask.ndim))
        outputs = range(mask.ndim) if weight is None or weight.order is None else weight.order[: -weight.summed]
        valid = all(left[dim] == shape[dim] or left[dim] % surgery.pattern.multiple == 0 for dim in outputs)
        laid_out = weight is not None and weight.order is not None
        matrix = weight.as_matrix(mask) if weight is not None and laid_out else mask.flatten(0, -2)[:, None]
        yield weight.name if weight is not None else parameter, shape, left, valid, matrix
