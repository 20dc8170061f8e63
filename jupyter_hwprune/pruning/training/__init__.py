"""Prune in steps, and run the user's fine-tune step, or a recovery without labels, on the pruned copy after each.

Every step gets a new copy, and removed weights stay removed: zeros are held while the user trains. Removed channels are
put back as zeros before the next cut, so that every share counts from the dense model's channels.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...choose.scoring import Scorer, device_of
from ...core.copying import copied
from ...core.errors import InputError, PruneError
from ...core.example import Example
from ...core.interrupts import users_code
from ...core.pattern import Channel, Depth, Pattern
from ...core.torch_state import own_torch_state
from ...report import TrainedStep
from ...toolchains.process import Progress
from .. import Pruned, copy_modes, recount
from ..depth import Removed
from ..layers import weight_name
from ..served import Served
from .holding import held, kept_as_it_is
from .recovery import Recovery
from .schedule import Stage, stages

Finetune = Callable[[nn.Module], Any]
PruneStep = Callable[[nn.Module, Pattern, float], Pruned]
"""Takes a model, a pattern, and the share of the dense model to remove; returns a pruned copy."""


@dataclass(frozen=True)
class Subject:
    """The user's own model, which stays as it is, its name, and its dense copy on the CPU."""

    own: nn.Module
    name: str
    dense: nn.Module
    start: nn.Module  # the model to prune: the dense copy, or one with reordered channels


@dataclass(frozen=True)
class Training:
    """The user's fine-tune step, or a recovery, and the schedule that it runs by."""

    subject: Subject
    finetune: Finetune | Recovery
    schedule: str
    steps: int
    example: Example
    served: Served | None
    scorer: Scorer | None
    progress: Progress

    def along(self, prune_step: PruneStep, pattern: Pattern, share: float) -> Pruned:
        """Prune and train in steps up to the share, and describe the layers as they are after the last training."""
        growing = stages(self.schedule, pattern, share, self.steps)
        pruned = train_along(self.subject, growing, prune_step, self.finetune, self.scorer, self.progress)
        with own_torch_state():
            described = recount(self.subject.start, self.example, pruned, self.served)
        found = self.finetune.found if isinstance(self.finetune, Recovery) else None
        return replace(described, recovered=found)


def train_along(
    subject: Subject,
    stages: tuple[Stage, ...],
    prune_step: PruneStep,
    finetune: Finetune,
    scorer: Scorer | None,
    progress: Progress,
) -> Pruned:
    """Prune and train in stages, each from the weights that the stage before trained, and score what comes between.

    The result describes the layers after the last pruning step, whose score is the finished model's. Raises InputError
    if the fine-tune step trains another model, changes this one's structure, or diverges; errors of the fine-tune step
    itself pass through.
    """
    pruned: Pruned | None = None
    model, keep = subject.start, dict[str, Tensor]()
    done: list[TrainedStep] = []
    for number, stage in enumerate(stages, 1):
        progress("prune", f"step {number} of {len(stages)}, {stage.sparsity:.0%}")
        shrinks = isinstance(stage.pattern, (Channel, Depth))
        try:
            found = _further(stage.pattern)(subject.dense, model, keep, stage, prune_step)
        except PruneError:
            if number == len(stages):
                raise
            continue  # so far, the share is less than one channel or block
        if found is not None:
            pruned, keep = found
            model = pruned.model
        progress("train", f"step {number} of {len(stages)}, {stage.sparsity:.0%}")
        blocks = () if pruned is None else pruned.blocks
        start = time.monotonic()
        model = _finetuned(subject, model, {} if shrinks else keep, finetune, number, blocks)
        seconds = round(time.monotonic() - start, 1)
        score = None if scorer is None or number == len(stages) else scorer.maybe(model)
        done.append(TrainedStep(stage.sparsity, seconds, score))
    assert pruned is not None  # the last stage prunes or raises
    return replace(pruned, model=model, trained=tuple(done))


def _further(pattern: Pattern) -> Callable[..., tuple[Pruned, dict[str, Tensor]] | None]:
    """Return how a stage takes its share with this pattern."""
    if isinstance(pattern, Depth):
        return _blocks_gone
    return _channels_further if isinstance(pattern, Channel) else _zeros_further


def _zeros_further(
    _dense: nn.Module, model: nn.Module, keep: Mapping[str, Tensor], stage: Stage, prune_step: PruneStep
) -> tuple[Pruned, dict[str, Tensor]]:
    """Zero more weights. Kept weights that are zero by chance are marked, so that a zero means removed."""
    marked = copied(model)
    marks: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, weight in marked.named_parameters():  # each once, as the first of its names
            if weight.ndim >= 2 and weight.is_floating_point():
                marks[name] = (weight == 0) & keep.get(name, torch.tensor(data=True))
                weight.masked_fill_(marks[name], _mark(weight))
    pruned = prune_step(marked, stage.pattern, stage.sparsity)
    kept = dict(keep)
    with torch.no_grad():
        for name in (weight_name(model, layer.name) for layer in pruned.layers):
            weight = pruned.model.get_parameter(name)
            kept[name] = (weight != 0) & keep.get(name, torch.tensor(data=True))
        for name, mark in marks.items():
            weight = pruned.model.get_parameter(name)
            weight.masked_fill_(mark & (weight == _mark(weight)), 0)
        for name, mask in kept.items():
            pruned.model.get_parameter(name).masked_fill_(~mask, 0)
    return pruned, kept


def _mark(weight: Tensor) -> float:
    """Return a value that ranks above zero and below all other weights, but is not a denormal float32."""
    own = torch.finfo(weight.dtype)
    return max(own.tiny * own.eps, torch.finfo(torch.float32).tiny)


def _channels_further(
    dense: nn.Module, model: nn.Module, keep: Mapping[str, Tensor], stage: Stage, prune_step: PruneStep
) -> tuple[Pruned, dict[str, Tensor]] | None:
    """Remove more channels; None if the ranking would bring one back, so that this stage removes nothing."""
    pruned = prune_step(_in_dense_shape(dense, model, keep), stage.pattern, stage.sparsity)
    further = all(name in pruned.keep and not bool((pruned.keep[name] & ~mask).any()) for name, mask in keep.items())
    return (pruned, dict(pruned.keep)) if further else None


def _blocks_gone(
    _dense: nn.Module, model: nn.Module, _keep: Mapping[str, Tensor], stage: Stage, prune_step: PruneStep
) -> tuple[Pruned, dict[str, Tensor]]:
    """Remove blocks, in the one stage that there is."""
    return prune_step(model, stage.pattern, stage.sparsity), {}


def _in_dense_shape(dense: nn.Module, model: nn.Module, keep: Mapping[str, Tensor]) -> nn.Module:
    """Return the dense network with the smaller model's weights, and zeros for what was removed."""
    whole = copied(dense)
    small = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    tensors = (*whole.named_parameters(remove_duplicate=False), *whole.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name, tensor in tensors:
            if name in keep:
                tensor.zero_()
                tensor[keep[name]] = small[name].flatten()
            elif name in small and small[name].shape == tensor.shape:  # skip caches that have grown
                tensor.copy_(small[name])
    return whole


def _finetuned(
    subject: Subject,
    model: nn.Module,
    keep: Mapping[str, Tensor],
    finetune: Finetune,
    number: int,
    blocks: tuple[Removed, ...],
) -> nn.Module:
    """Run the fine-tune step on `model`, on the device and in the modes of the user's; return a copy of the result."""
    shapes = _shapes(model)
    training = copy_modes(subject.own, model, blocks).to(device_of(subject.own))
    own_interrupts = contextlib.nullcontext() if isinstance(finetune, Recovery) else users_code()
    with kept_as_it_is(subject.own, subject.dense, subject.name), held(training, keep), own_interrupts:
        finetune(training)
    found = _shapes(training)
    if odd := sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)):
        raise InputError(
            f"The fine-tune step changed the network's structure ({', '.join(odd[:4])}), but the next pruning step "
            "needs the same tensors in the same shapes. Undo parametrizations and replaced layers at its end."
        )
    trained = copied(training).cpu().eval()  # a copy, as the user may still hold references to it
    for name, tensor in (*trained.named_parameters(), *trained.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"The training diverged: after fine-tune step {number}, {name} holds NaN or infinite values. Use a "
                "lower learning rate, or remove less per step (--schedule cubic with more --steps)."
            )
    trained.zero_grad(set_to_none=True)
    return trained


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items() if isinstance(value, Tensor)}
