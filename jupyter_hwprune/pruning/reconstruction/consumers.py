"""Which layers sum over a set's channels, and which of their columns go with each unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...core.example import Example
from ..graph import ChannelSet, Slot
from ..layers import Weight
from ..sequential import evaluation
from ..trace import hooks, input_of


@dataclass(frozen=True)
class Consumer:
    """A layer's weight, and the columns int64 [U, s] of its matrix [K, D] that go with each unit."""

    weight: Weight
    columns: Tensor


def consumers_of(channels: ChannelSet, weights: Mapping[str | None, Weight]) -> list[Consumer]:
    """Return the layers whose inputs are seen and that lose them with the set; `weights` by their parameters."""
    return [
        Consumer(weight, _columns(slot, weight))
        for slot in channels.slots
        if slot.reads and (weight := weights.get(slot.tensor)) is not None and reason_not_solved(weight, slot) is None
    ]


def reason_not_solved(weight: Weight, slot: Slot) -> str | None:
    """Say why a layer that reads channels is no least-squares problem of its own; None where it is one."""
    if weight.reason is not None:
        return weight.reason
    if not weight.of_input:
        return "no module takes its input as its own, so that input is not seen"
    if weight.groups > 1:
        return "each of its groups reads channels of its own"
    if slot.tied:
        return "its weight is also another layer's"
    if slot.dim != _input_dim(weight):
        return "it does not sum over these channels alone"
    return None


def _input_dim(weight: Weight) -> int | None:
    if weight.order is not None:
        return weight.order[-1] if weight.summed == 1 else None
    return 0 if weight.computes and "Transpose" in weight.computes else 1


def _columns(slot: Slot, weight: Weight) -> Tensor:
    width = weight.shape[slot.dim]
    taps = 1 if weight.order is not None else torch.Size(weight.shape[2:]).numel()
    return (torch.arange(taps)[:, None] * width + slot.positions[:, None]).flatten(1)  # [U, taps * k]


def norms_after(model: nn.Module, names: Sequence[str], batch: Example) -> dict[str, str]:
    """Return the layers without a bias whose output a BatchNorm alone takes next, with that one's name.

    Its running mean can take up what a bias would.
    """
    found: dict[str, str] = {}
    made: dict[int, tuple[str, Tensor]] = {}

    def leave(name: str, _layer: nn.Module, _args: Any, output: Any) -> None:
        made[id(output)] = name, output  # held, so that no other tensor gets its id

    def enter(name: str, _norm: nn.Module, args: Any, kwargs: Any) -> None:
        own = made.get(id(input_of(args, kwargs)))
        if own is not None:
            found[own[0]] = name

    with hooks() as handles, evaluation(model):
        for name in names:
            layer = model.get_submodule(name)
            if getattr(layer, "bias", None) is None:
                handles.append(layer.register_forward_hook(partial(leave, name)))
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                handles.append(module.register_forward_pre_hook(partial(enter, name), with_kwargs=True))
        batch.through(model)
    return found


def shift(model: nn.Module, layer: str, norm: str | None, by: Tensor) -> None:
    """Add to a layer's bias, or take it from the running mean of the BatchNorm that follows. [K]."""
    bias = getattr(model.get_submodule(layer), "bias", None)
    if isinstance(bias, Tensor):
        bias += by.to(bias.dtype)
    elif norm is not None:
        mean = model.get_submodule(norm).running_mean
        assert isinstance(mean, Tensor)
        mean -= by.to(mean.dtype)
