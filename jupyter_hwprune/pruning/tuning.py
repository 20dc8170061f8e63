"""`--tune-blocks`: train the weights left in each block so that it gives the dense block's output, without labels.

A block is the smallest part of the model that needs no more than the part before gives, such as a transformer's layer
or a residual block. Block after block, the pruned model's own inputs go in and the dense model's outputs are asked for,
so a block also makes up for what those before it have lost (block-wise reconstruction: BRECQ, Li et al. 2021,
arXiv:2102.05426; for zeros EBFT, Guo et al. 2024, arXiv:2402.12419).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from ..core.copying import copied
from ..core.errors import InputError, counted
from ..core.example import Example
from ..core.outputs import tensors_of
from .layers import layers_with_weights
from .method import Tell
from .reconstruction.refit import LayerRuns
from .sequential import evaluation

RATES = (0.01, 0.001)  # of learning, times a weight's own size; the second where the first does not help
WARM_UP = 0.1  # of all steps, before the cosine
ROWS = 16  # a step
LEFT_OUT = 0.125  # of the rows, to judge by
FEWEST_ROWS = 8


@dataclass
class Tuned:
    """The blocks' relative squared errors on the rows left out, before and after, and why others were not tuned."""

    rows: int
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def said(self, steps: int, seconds: float) -> str:
        others = "".join(f" Not {name}: {reason}." for name, reason in list(self.reasons.items())[:4])
        if not self.errors:
            return f"No block could be tuned towards the dense one's output.{others}"
        each = [f"{name} {before:.2%} → {after:.2%}" for name, (before, after) in self.errors.items()]
        more = f" and {len(each) - 8} more" if len(each) > 8 else ""
        kept = sum(after < before for before, after in self.errors.values())
        return (
            f"{kept} of {counted(len(each), 'block')} tuned as a whole, by {counted(steps, 'step')} each, without "
            f"labels on {counted(self.rows, 'row')}, in {seconds:.0f} s. On calibration rows left out, the energy by "
            f"which their outputs miss the dense model's, before and after: {', '.join(each[:8])}{more}.{others}"
        )


def check_tune(steps: int | None, *, calib: Any, others: Mapping[str, bool]) -> None:
    """Raise InputError unless `steps` is None, or there are inputs to tune on and none of the `others` is asked for."""
    if steps is None:
        return
    beside = next((name for name, given in others.items() if given), None)
    if beside is not None:
        raise InputError(
            f"--tune-blocks {steps} ends a pruning in one shot, and {beside} goes on from there. Give one of the two."
        )
    if calib is None:
        raise InputError(
            f"--tune-blocks is {steps}, but there are no calibration inputs to tune on: on the example alone, a block "
            f"would forget all other inputs. Give at least {FEWEST_ROWS} rows of data like yours, without labels: "
            "--calib train_x."
        )


def check_rows(steps: int | None, rows: int) -> None:
    """Raise InputError for too few rows to tune on."""
    if steps is not None and rows < FEWEST_ROWS:
        raise InputError(
            f"--tune-blocks needs at least {FEWEST_ROWS} rows of calibration inputs, and --calib gives "
            f"{counted(rows, 'row')}: tuned on so few, a block would forget all other inputs."
        )


def tuned(
    dense: nn.Module,
    pruned: nn.Module,
    layers: Sequence[str],
    keep: Mapping[str, Tensor],
    batches: Sequence[Example],
    steps: int,
    progress: Tell = lambda _block: None,
) -> tuple[nn.Module, str]:
    """Return a copy of `pruned` whose blocks were tuned, and a sentence that says so.

    Only the weights and biases of `layers`, those that were pruned, are trained, and zeros stay. A block stays as it
    was where that is better on the rows left out. `keep` are masks of the dense tensors, where channels are gone. The
    same inputs give the same weights.
    """
    start = time.monotonic()
    model = copied(pruned)
    found = Tuned(sum(each.batch for each in batches))
    named = {name for name, _ in layers_with_weights(model)}
    with evaluation(dense), evaluation(model):
        pair = [LayerRuns.of(each, [n for n in layers if n in named], batches) for each in (dense, model)]
        for block in pair[1].runs.elements:
            held = [name for name in layers if name == block or name.startswith(f"{block}.")]
            if held:
                progress(f"tune {block}")
                try:
                    found.errors[block] = _tune(pair, block, held, keep, steps)
                except _NotTunedError as error:
                    found.reasons[block] = str(error)
    return model, found.said(steps, time.monotonic() - start)


class _NotTunedError(Exception):
    pass


@dataclass
class _Rows:
    """What goes into a block, and what the dense one gives."""

    inputs: Example
    wanted: Tensor

    def taken(self, rows: Tensor) -> _Rows:
        return _Rows(self.inputs.taken(rows), self.wanted[rows])


def _tune(
    pair: Sequence[LayerRuns], block: str, layers: Sequence[str], keep: Mapping[str, Tensor], steps: int
) -> tuple[float, float]:
    """Train one block in place; return its errors on the rows left out, before and after."""
    module = pair[1].model.get_submodule(block)
    train, judge = _split(_seen(pair, block, keep))
    parameters = _parameters(pair[1].model, layers)
    before = [each.detach().clone() for each in parameters]
    first = last = _error(module, judge)
    for rate in RATES:
        _descend(module, parameters, train, steps, rate)
        last = _error(module, judge)
        if last < first:
            return first, last
        with torch.no_grad():
            for each, own in zip(parameters, before, strict=True):
                each.copy_(own)
    return first, first


def _seen(pair: Sequence[LayerRuns], block: str, keep: Mapping[str, Tensor]) -> list[_Rows]:
    """Return each batch's inputs to the pruned model's block, with the outputs of the dense model's."""
    _, small = pair
    if small.calls.calls[block] != 1:
        raise _NotTunedError("it is called more than once")
    starts = [each.start_for(block) for each in pair]
    found = []
    for at in range(len(small.runs.batches)):
        (_, _, wanted), (args, kwargs, own) = (
            each.seen(at, start, block)[0] for each, start in zip(pair, starts, strict=True)
        )
        outputs, aims = tensors_of(own), tensors_of(wanted)
        if not aims or not outputs or not aims[0].is_floating_point():
            raise _NotTunedError("its output is not a floating-point tensor")
        aim = _left(aims[0], outputs[0], [mask for name, mask in keep.items() if name.startswith(f"{block}.")])
        inputs = Example(args, kwargs).changed(lambda t: t.detach())
        if not inputs.tensors or inputs.batch != len(aim):
            raise _NotTunedError("the rows of its input are not those of its output")
        found.append(_Rows(inputs, aim.detach().clone()))
    return found


def _left(wanted: Tensor, own: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """Return the dense output without the channels that are gone, by that of the masks which comes nearest."""
    differ = [axis for axis, (a, b) in enumerate(zip(wanted.shape, own.shape, strict=False)) if a != b]
    if wanted.ndim == own.ndim and not differ:
        return wanted
    if wanted.ndim != own.ndim or len(differ) != 1:
        raise _NotTunedError("its output has another shape")
    axis = differ[0]
    kept = [each.flatten(1).any(1) if each.ndim > 1 else each for each in masks]
    fitting = [each for each in kept if len(each) == wanted.shape[axis] and int(each.sum()) == own.shape[axis]]
    if not fitting:
        raise _NotTunedError("which channels of its output are gone is not known")
    left = [wanted.index_select(axis, each.nonzero().flatten()) for each in fitting]
    return min(left, key=lambda each: float((each - own).square().sum()))


def _split(batches: Sequence[_Rows]) -> tuple[list[_Rows], list[_Rows]]:
    """Leave out the last rows, whole batches where there are many."""
    if len(batches) * LEFT_OUT >= 1:
        out = round(len(batches) * LEFT_OUT)
        return list(batches[:-out]), list(batches[-out:])
    pieces = []
    for each in batches:
        rows = torch.arange(len(each.wanted))
        out = max(1, round(LEFT_OUT * len(rows)))
        if out == len(rows):
            raise _NotTunedError("a calibration batch holds one row alone")
        pieces.append((each.taken(rows[:-out]), each.taken(rows[-out:])))
    train, judge = zip(*pieces, strict=True)
    return list(train), list(judge)


def _parameters(model: nn.Module, layers: Sequence[str]) -> list[nn.Parameter]:
    own = dict(model.named_parameters(remove_duplicate=False))
    found = [own[name] for name in layers if name in own]
    for name in layers:
        if name not in own:
            found += model.get_submodule(name).parameters(recurse=False)
    return [each for each in dict.fromkeys(found) if each.is_floating_point()]


def _error(module: nn.Module, batches: Sequence[_Rows]) -> float:
    lost = energy = 0.0
    with torch.no_grad():
        for each in batches:
            own = tensors_of(each.inputs.through(module))[0]
            lost += float((own - each.wanted).square().sum(dtype=torch.float64))
            energy += float(each.wanted.square().sum(dtype=torch.float64))
    error = lost / energy if energy > 0 else 0.0
    return error if math.isfinite(error) else math.inf


def _descend(
    module: nn.Module, parameters: Sequence[nn.Parameter], batches: Sequence[_Rows], steps: int, rate: float
) -> None:
    """Train by the mean squared error; weights that are zero get no gradient, so Adam leaves them zero."""
    kept = [each.detach() != 0 if each.ndim > 1 else torch.ones_like(each, dtype=torch.bool) for each in parameters]
    size = [
        float(each.detach().square().sum() / own.sum().clamp_min(1)) for each, own in zip(parameters, kept, strict=True)
    ]
    largest = max(size) ** 0.5
    groups = [
        {"params": [each], "lr": rate * (own**0.5 if each.ndim > 1 else largest)}
        for each, own in zip(parameters, size, strict=True)
    ]
    optimizer = Adam(groups)
    warm = max(1, round(WARM_UP * steps))
    cosine = LambdaLR(optimizer, lambda at: min((at + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * at / max(1, steps))))
    asked = [each.requires_grad for each in parameters]
    with torch.enable_grad():
        for each in parameters:
            each.requires_grad_()
        for rows in itertools.islice(_drawn(batches), steps):
            own = tensors_of(rows.inputs.through(module))[0]
            loss = functional.mse_loss(own, rows.wanted) / rows.wanted.square().mean().clamp_min(1e-30)
            if not loss.requires_grad:
                raise _NotTunedError("no gradient reaches its output")
            found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
            for each, gradient, own_kept in zip(parameters, found, kept, strict=True):
                each.grad = None if gradient is None else gradient * own_kept
            optimizer.step()
            cosine.step()
    for each, before in zip(parameters, asked, strict=True):
        each.grad = None
        each.requires_grad_(before)


def _drawn(batches: Sequence[_Rows]) -> Iterator[_Rows]:
    """Yield a few rows at once for ever, in random order, and none twice before all others."""
    random = torch.Generator().manual_seed(0)
    while True:
        for at in torch.randperm(len(batches), generator=random).tolist():
            order = torch.randperm(len(batches[at].wanted), generator=random)
            for rows in torch.split(order, ROWS):
                yield batches[at].taken(rows)
