"""Training along: pruning in steps, and after each of them the user's own fine-tune step on the pruned copy.

Every step is given a new copy, and what was removed stays removed: zeros are held while the user trains, and removed
channels are put back as zeros before the next cut is chosen, so that its share is that of the dense model's channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...choose.scoring import device_of
from ...core.errors import InputError, PruneError
from ...core.pattern import Channel, Pattern
from ...toolchains.process import Progress
from .. import Pruned, copy_modes, weight_name
from ..layers import PRUNABLE
from .holding import held, kept_as_it_is
from .schedule import Stage

Finetune = Callable[[nn.Module], Any]
PruneStep = Callable[[nn.Module, Pattern, float], Pruned]
"""A model, a pattern, and the share of the dense model to remove: the model pruned, which itself stays as it is."""


@dataclass(frozen=True)
class Subject:
    """The user's own model, which stays as it is, what they call it, and its dense copy on the CPU.

    `start` is what is pruned: that copy, or one whose channels stand in another order.
    """

    own: nn.Module
    name: str
    dense: nn.Module
    start: nn.Module


def train_along(
    subject: Subject, stages: tuple[Stage, ...], prune_step: PruneStep, finetune: Finetune, progress: Progress
) -> Pruned:
    """Prune by the stages, each from the weights that the one before was trained to, and train after each.

    The layers are described as the last step pruned them. Raises InputError when the fine-tune step trains another
    model, changes this one's structure, or diverges, and whatever the fine-tune step raises.
    """
    pruned: Pruned | None = None
    model, keep = subject.start, dict[str, Tensor]()
    for number, stage in enumerate(stages, 1):
        progress("prune", f"step {number} of {len(stages)}, {stage.sparsity:.0%}")
        further = _channels_further if isinstance(stage.pattern, Channel) else _zeros_further
        try:
            found = further(subject.dense, model, keep, stage, prune_step)
        except PruneError:
            if number == len(stages):
                raise
            continue  # so small a share is no whole channel yet, or no whole block
        if found is not None:
            pruned, keep = found
            model = pruned.model
        progress("train", f"step {number} of {len(stages)}, {stage.sparsity:.0%}")
        model = _finetuned(subject, model, {} if isinstance(stage.pattern, Channel) else keep, finetune, number)
    assert pruned is not None  # the last stage prunes or raises
    return replace(pruned, model=model)


def _zeros_further(
    _dense: nn.Module, model: nn.Module, keep: Mapping[str, Tensor], stage: Stage, prune_step: PruneStep
) -> tuple[Pruned, dict[str, Tensor]]:
    """Zero more weights. Kept weights that are zero by chance are marked, so that a zero means removed."""
    marked = copy.deepcopy(model)
    marks: dict[str, Tensor] = {}
    prunable = {module for module in marked.modules() if isinstance(module, PRUNABLE)}
    with torch.no_grad():
        for name, weight in marked.named_parameters():  # each once, as the first of its names
            parent, _, own = name.rpartition(".")
            if own == "weight" and marked.get_submodule(parent) in prunable:
                marks[name] = (weight == 0) & keep.get(name, torch.tensor(data=True))
                weight.masked_fill_(marks[name], _mark(weight))
    pruned = prune_step(marked, stage.pattern, stage.sparsity)
    kept = dict(keep)
    with torch.no_grad():
        for name in map(weight_name, pruned.layers):
            weight = pruned.model.get_parameter(name)
            kept[name] = (weight != 0) & keep.get(name, torch.tensor(data=True))
        for name, mark in marks.items():
            weight = pruned.model.get_parameter(name)
            weight.masked_fill_(mark & (weight == _mark(weight)), 0)
        for name, mask in kept.items():
            pruned.model.get_parameter(name).masked_fill_(~mask, 0)
    return pruned, kept


def _mark(weight: Tensor) -> float:
    """Return a value that ranks above zero, and below all others; float32 must not take it for a denormal one."""
    own = torch.finfo(weight.dtype)
    return max(own.tiny * own.eps, torch.finfo(torch.float32).tiny)


def _channels_further(
    dense: nn.Module, model: nn.Module, keep: Mapping[str, Tensor], stage: Stage, prune_step: PruneStep
) -> tuple[Pruned, dict[str, Tensor]] | None:
    """Remove more channels; None where the ranking would bring one back, so that nothing more can go yet."""
    pruned = prune_step(_in_dense_shape(dense, model, keep), stage.pattern, stage.sparsity)
    further = all(name in pruned.keep and not bool((pruned.keep[name] & ~mask).any()) for name, mask in keep.items())
    return (pruned, dict(pruned.keep)) if further else None


def _in_dense_shape(dense: nn.Module, model: nn.Module, keep: Mapping[str, Tensor]) -> nn.Module:
    """Return the dense network with the smaller model's weights, and zeros for what was removed."""
    whole = copy.deepcopy(dense)
    small = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    tensors = (*whole.named_parameters(remove_duplicate=False), *whole.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name, tensor in tensors:
            if name in keep:
                tensor.zero_()
                tensor[keep[name]] = small[name].flatten()
            elif name in small and small[name].shape == tensor.shape:  # a cache may have grown, which is no state
                tensor.copy_(small[name])
    return whole


def _finetuned(
    subject: Subject, model: nn.Module, keep: Mapping[str, Tensor], finetune: Finetune, number: int
) -> nn.Module:
    """Run the fine-tune step on `model`, where the user's lives and in its modes; return a copy of its result."""
    shapes = _shapes(model)
    training = copy_modes(subject.own, model).to(device_of(subject.own))
    with kept_as_it_is(subject.own, subject.dense, subject.name), held(training, keep):
        finetune(training)
    _require_same_structure(shapes, _shapes(training))
    trained = copy.deepcopy(training).cpu().eval()  # names that the user bound to theirs are no way into ours
    for name, tensor in (*trained.named_parameters(), *trained.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"The training diverged: after fine-tune step {number}, {name} holds NaN or infinite values. Use a "
                "lower learning rate, or remove less at once (--schedule cubic with more --steps)."
            )
    for parameter in trained.parameters():
        parameter.grad = None
    return trained


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _require_same_structure(before: Mapping[str, tuple[int, ...]], after: Mapping[str, tuple[int, ...]]) -> None:
    if before != after:
        odd = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        raise InputError(
            f"The fine-tune step changed the network itself ({', '.join(odd[:4])}): the same tensors in the same "
            "shapes are needed for the next pruning step. Undo parametrizations and replaced layers at its end."
        )
