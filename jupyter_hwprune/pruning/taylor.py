"""Estimate the change of the loss by removing a channel, from gradients on calibration data.

Removing a unit changes the loss by about the sum of w dL/dw over the weights that read it. The square of that, averaged
over samples, is the unit's score: the squared Taylor term of Molchanov et al. 2019 (arXiv:1906.10771), which sample by
sample is the Fisher information of a gate on the unit (Theis et al. 2018, arXiv:1801.05787; by groups of coupled
channels in Liu et al. 2021, arXiv:2108.00708).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from ..core.copying import copied
from ..core.errors import InputError, first_line
from ..core.example import Example
from ..core.outputs import tensors_of
from .graph import ChannelSet, Coupled

PASSES = 64  # the most gradients taken of each batch; where it has more rows, several share one

Loss = Callable[[Any, Any], Tensor]


def taylor(
    model: nn.Module,
    coupled: Coupled,
    batches: Sequence[Example],
    labels: Sequence[Any] | None = None,
    loss: Loss | None = None,
) -> dict[str, Tensor]:
    """Score the units of each set of channels: name -> float32 [U], on one scale over all sets.

    `labels[i]` belong to `batches[i]`. The loss of (output, labels) is `loss` where the user gives one, else that of
    `task_loss`, or one that the model itself returns; without any it is the outputs' own change, see
    `random_projection`. The model runs in evaluation mode on a copy, so frozen parameters count too and the
    user's gradients stay unchanged. Raises InputError if there is no data or no gradient, or if outputs and labels do
    not fit.
    """
    if labels is not None and len(labels) != len(batches):
        raise InputError(f"There are labels for {len(labels)} batches, and {len(batches)} batches. Give one for each.")
    own = copied(model).float().eval()
    names = dict(own.named_parameters(remove_duplicate=False))
    weights = [p for p in own.parameters() if p.is_floating_point()]
    for weight in weights:
        weight.requires_grad_()
    source = torch.Generator().manual_seed(0)
    scores = {channels.name: torch.zeros(channels.units, dtype=torch.float64) for channels in coupled.sets}
    rows = 0
    for batch, known in _portions(batches, labels):
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            output = batch.as_float32().through(own)
            value = _value(output, batch, known, loss, source)
            gradients = torch.autograd.grad(value, weights, allow_unused=True)
        change = {  # of the loss, to first order, by each weight's removal; its sign is lost in the square
            id(weight): torch.zeros_like(weight) if gradient is None else weight.detach() * gradient
            for weight, gradient in zip(weights, gradients, strict=True)
        }
        by_name = {name: change[id(weight)] for name, weight in names.items() if id(weight) in change}
        for channels in coupled.sets:
            scores[channels.name] += batch.batch * _of_units(channels, by_name).double().square()  # [U]
        rows += batch.batch
    if not rows:
        raise InputError("Taylor importance needs calibration data, and there is none. Give some with --calib.")
    return {name: (score / rows).float() for name, score in scores.items()}


def task_loss(output: Any, labels: Any, inputs: Sequence[Tensor] = ()) -> Tensor:
    """Return the loss of a model's usual output for labels, as a mean over rows (and places).

    Cross-entropy for whole-numbered labels: scores [N, classes], [N, classes, ..] or [N, T, classes] for labels [N],
    [N, ..] or [N, T], where -100 is no label. Labels that are the input ids themselves are each predicted from those
    before it. Mean squared error for labels in floating point of the output's shape. Raises InputError for others.
    """
    scores = _first_output(output)
    if not isinstance(labels, Tensor):
        labels = torch.as_tensor(labels)
    if labels.is_floating_point() and labels.shape == scores.shape:
        return functional.mse_loss(scores, labels.to(scores.dtype))
    if not labels.is_floating_point() and scores.ndim >= 2:
        if scores.shape[:-1] == labels.shape and scores.ndim != 2:
            scores = scores.movedim(-1, 1)  # [N, T, classes] -> [N, classes, T]
            if any(labels.shape == ids.shape and torch.equal(labels, ids.to(labels.dtype)) for ids in inputs):
                scores, labels = scores[..., :-1], labels[:, 1:]
        if scores.shape[0] == labels.shape[0] and scores.shape[2:] == labels.shape[1:]:
            return functional.cross_entropy(scores, labels.long())
    raise InputError(
        f"Outputs of shape {tuple(scores.shape)} and labels of shape {tuple(labels.shape)} ({labels.dtype}) make no "
        "cross-entropy and no squared error. Give labels that fit, or none: then the outputs' own change counts."
    )


def random_projection(output: Any, source: torch.Generator) -> Tensor:
    """Return the outputs, each over its norm, times normal random numbers.

    Its squared gradient has the mean |dy/dw|^2: what a unit's removal changes the outputs by, to first order. That is
    the Fisher information of outputs with Gaussian noise; rows draw numbers of their own, so they can share a gradient.
    """
    total = torch.zeros(())
    for out in tensors_of(output):
        if out.is_floating_point() and out.requires_grad:
            noise = torch.randn(out.shape, generator=source).to(out)
            total = total + (out * noise).sum() / out.detach().norm().clamp_min(1e-30)
    return total


def _value(output: Any, batch: Example, known: Any, loss: Loss | None, source: torch.Generator) -> Tensor:
    if loss is not None:
        try:
            value = loss(output, known)
        except Exception as error:
            raise InputError(f"The loss given for Taylor importance fails: {first_line(error)}.") from error
    elif known is not None:
        value = task_loss(output, known, batch.tensors)
    elif isinstance(output, Mapping) and isinstance(output.get("loss"), Tensor):
        value = output["loss"]  # a transformers model whose inputs hold the labels
    else:
        value = random_projection(output, source)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        what = f"a {type(value).__name__}"
        if isinstance(value, Tensor):
            without = "" if value.requires_grad else " without a gradient"
            what = f"a tensor of shape {tuple(value.shape)}{without}"
        raise InputError(
            f"Taylor importance needs a loss of one number with a gradient, and this model's is {what}. Does it run "
            "under no_grad, or return indices? Give a loss, or use --importance magnitude."
        )
    if not bool(torch.isfinite(value)):
        raise InputError(
            f"The loss for Taylor importance is {float(value.detach())} on the calibration data; it has to be finite."
        )
    return value.reshape(())


def _first_output(output: Any) -> Tensor:
    """Return the `logits` of a dict-like output, else its first tensor."""
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        logits: Tensor = output["logits"]
        return logits
    tensors = tensors_of(output)
    if not tensors:
        raise InputError("The model returns no tensor, so labels have nothing to be compared with.")
    return tensors[0]


def _of_units(channels: ChannelSet, change: Mapping[str, Tensor]) -> Tensor:
    """Add up the changes of the weights that read each unit. -> [U].

    The weights that make it, and the normalisations between, tell the same again, blurred by what they add to it.
    Where no weight reads (queries and keys) each of the makers tells it once.
    """
    reading = tuple(slot for slot in channels.slots if slot.reads and slot.tensor in change)
    if reading:
        return replace(channels, slots=reading).sums(change)
    return channels.sums(change) / max(1, len(channels.makers))


def _portions(batches: Sequence[Example], labels: Sequence[Any] | None) -> Iterator[tuple[Example, Any]]:
    """Cut each batch, with its labels, into portions of few rows; tensors of another length stay whole."""
    for index, batch in enumerate(batches):
        whole = (batch.args, batch.kwargs, None if labels is None else labels[index])
        rows = batch.batch
        size = max(1, -(-rows // PASSES))
        for start in range(0, rows, size):
            args, kwargs, known = pytree.tree_map_only(Tensor, partial(_cut, rows, slice(start, start + size)), whole)
            yield Example(args, kwargs), known


def _cut(rows: int, portion: slice, tensor: Tensor) -> Tensor:
    return tensor[portion] if tensor.ndim and tensor.shape[0] == rows else tensor
