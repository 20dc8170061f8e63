"""Describe the effect of a channel cut on each layer."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..report import Layer, Skipped
from .channels import Surgery
from .layers import PRUNABLE, as_matrix, layers_with_weights, reason_not_prunable
from .picture import draw


def describe_cut(
    dense: nn.Module, surgery: Surgery, macs: Mapping[str, int], small_macs: Mapping[str, int]
) -> tuple[list[Layer], list[Skipped]]:
    """Describe the layers that lost channels, and say why others did not."""
    layers, skipped = [], []
    for name, module in layers_with_weights(dense):
        weight = getattr(module, "weight", None)  # of a parametrized layer, computed
        shape = tuple(weight.shape) if isinstance(weight, Tensor) else ()
        mask = _mask(surgery.keep, name, shape)
        if mask is None or not isinstance(weight, Tensor) or not isinstance(module, PRUNABLE):
            reason = surgery.reasons.get(name) or reason_not_prunable(module) or "none of its channels was removed"
            if mask is not None:  # an embedding, say, or a library's own kind of layer
                reason = "it shrank with the layers around it; only Linear layers and convolutions are listed as pruned"
            skipped.append(Skipped(name, type(module).__name__, shape, reason))
            continue
        own = surgery.model.get_submodule(name)
        left: Tensor = own.weight  # type: ignore[assignment]
        outputs_before, outputs_after = (as_matrix(w, m).shape[0] for w, m in ((weight, module), (left, own)))
        valid = outputs_after == outputs_before or outputs_after % surgery.pattern.multiple == 0
        layers.append(
            Layer(
                name,
                type(module).__name__,
                shape,
                pruned_shape=tuple(left.shape),
                pattern=str(surgery.pattern),
                sparsity=round(1 - left.numel() / weight.numel(), 6),
                macs=macs.get(name),
                pruned_macs=small_macs.get(name),
                valid=valid,
                valid_groups=float(valid),
                picture=draw(as_matrix(mask, module).flatten(1)),
            )
        )
    return layers, skipped


def _mask(keep: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor | None:
    """Return the mask of the layer's weight, or of the tensor of its shape that a parametrization computes it from."""
    weight, computed_from = f"{name}.weight".lstrip("."), f"{name}.parametrizations.weight.".lstrip(".")
    if weight in keep:
        return keep[weight]
    return next((m for key, m in keep.items() if key.startswith(computed_from) and tuple(m.shape) == shape), None)
