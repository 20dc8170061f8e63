"""From a dense model to a pruned copy, with a description of every layer that was pruned and every one left dense."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..choice import Allocation
from ..errors import InputError, PruneError, first_line
from ..example import Example
from ..pattern import Channel, Pattern
from ..report import Layer, Skipped, Totals
from .channels import remove_channels
from .layers import PRUNABLE, as_matrix, layers_with_weights, reason_not_prunable
from .macs import count_macs
from .picture import draw
from .weights import zero_weights


@dataclass(frozen=True)
class Pruned:
    model: nn.Module
    layers: tuple[Layer, ...]
    skipped: tuple[Skipped, ...]
    totals: Totals


def copy_of(model: nn.Module) -> nn.Module:
    """Return a deep copy on the CPU; raises InputError for what cannot be copied, or holds NaN weights."""
    if not isinstance(model, nn.Module):
        raise InputError(f"The model is a {type(model).__name__}; it has to be a torch nn.Module.")
    if any(
        isinstance(p, (nn.UninitializedParameter, nn.UninitializedBuffer))
        for p in (*model.parameters(), *model.buffers())
    ):
        raise InputError("The model has lazy layers that never ran; run it once on an input, so that they get weights.")
    try:
        own = copy.deepcopy(model).cpu()
    except Exception as error:
        raise InputError(
            f"The model cannot be copied ({first_line(error)}), and the user's own is never changed."
        ) from error
    for name, parameter in own.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise InputError(
                f"The weight {name} holds NaN or infinite values; no pruning can rank those. Mend it first."
            )
    return own


def copy_modes(source: nn.Module, pruned: nn.Module) -> nn.Module:
    """Put each module of `pruned` into training or evaluation mode as its original is, and return `pruned`."""
    for (_, module), (_, original) in zip(pruned.named_modules(), source.named_modules(), strict=True):
        module.training = original.training
    return pruned


def prune(dense: nn.Module, example: Example, pattern: Pattern, sparsity: float, allocation: Allocation) -> Pruned:
    """Prune a copy of `dense`, which stays as it is.

    Raises PruneError when no layer fits the pattern, or when a channel cut cannot be proven right.
    """
    macs = count_macs(dense, example)
    if isinstance(pattern, Channel):
        surgery = remove_channels(dense, example, pattern, sparsity, ranked_together=allocation == "global")
        model = surgery.model
        small_macs = count_macs(copy.deepcopy(model).eval(), example)
        layers, skipped = _channel_layers(dense, model, surgery.keep, surgery.reasons, pattern, macs, small_macs)
    else:
        model = copy.deepcopy(dense)
        layers, skipped = zero_weights(model, pattern, sparsity, allocation, macs)
        small_macs = macs | {layer.name: layer.pruned_macs for layer in layers if layer.pruned_macs is not None}
    if not layers:
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in skipped[:4]) or "it has no Linear or convolution"
        raise PruneError(f"No layer of this model fits the pattern {pattern}. {reasons}. Choose another --pattern.")
    zeroed = 0  # not counting what was zero before
    for layer in layers:
        if layer.shape == layer.pruned_shape:
            weight = f"{layer.name}.weight".lstrip(".")
            before, after = dense.get_parameter(weight), model.get_parameter(weight)
            zeroed += int(before.count_nonzero()) - int(after.count_nonzero())
    if not all(bool(torch.isfinite(t).all()) for t in example.outputs(copy.deepcopy(model).eval())):
        raise PruneError(f"The pruned model's output holds NaN or infinite values. Remove less than {sparsity:.0%}.")
    totals = Totals(_weights(dense), _weights(model) - zeroed, sum(macs.values()), sum(small_macs.values()))
    return Pruned(model, tuple(layers), tuple(skipped), totals)


def _weights(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _channel_layers(
    dense: nn.Module,
    small: nn.Module,
    keep: dict[str, Tensor],
    reasons: dict[str, str],
    pattern: Channel,
    macs: dict[str, int],
    small_macs: dict[str, int],
) -> tuple[list[Layer], list[Skipped]]:
    layers, skipped = [], []
    for name, module in layers_with_weights(dense):
        weight = module._parameters.get("weight")  # noqa: SLF001
        shape = () if weight is None else tuple(weight.shape)
        mask = keep.get(f"{name}.weight")
        if mask is None or weight is None or not isinstance(module, PRUNABLE):
            shrunk = mask is not None  # an embedding that followed its readers is no layer with kernels of its own
            reason = (
                "it follows the layers that read it" if shrunk else reasons.get(name) or reason_not_prunable(module)
            )
            skipped.append(Skipped(name, type(module).__name__, shape, reason or "none of its channels was removed"))
            continue
        left: Tensor = small.get_submodule(name).weight  # type: ignore[assignment]
        outputs_before, outputs_after = (
            as_matrix(w, m).shape[0] for w, m in ((weight, module), (left, small.get_submodule(name)))
        )
        valid = outputs_after == outputs_before or outputs_after % pattern.multiple == 0
        layers.append(
            Layer(
                name,
                type(module).__name__,
                shape,
                pruned_shape=tuple(left.shape),
                pattern=str(pattern),
                sparsity=round(1 - left.numel() / weight.numel(), 6),
                macs=macs.get(name),
                pruned_macs=small_macs.get(name),
                valid=valid,
                valid_groups=float(valid),
                picture=draw(as_matrix(mask, module).flatten(1)),
            )
        )
    return layers, skipped
