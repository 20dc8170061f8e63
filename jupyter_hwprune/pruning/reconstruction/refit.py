"""Solve the layers that lost inputs anew, in the model's order, on the smaller model's inputs for the dense outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import InputError
from ...core.example import Example
from ..calibration import Calibration
from ..graph import Coupled
from ..layers import Weight
from ..method import Tell
from ..replay import Enough, Replay, replay
from ..sequential import evaluation
from ..statistics import GRAM_LIMIT_BYTES, input_rows
from ..trace import Trace, hooks, trace
from .consumers import norms_after, reason_not_solved, shift
from .scores import WIDEST_EXACT

DAMPINGS = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)  # of the mean diagonal, towards the dense weights; chosen on rows left out
LEFT_OUT = 0.25  # of the rows, the last of each batch


@dataclass(frozen=True)
class Refitted:
    """The layers solved anew, each with its relative squared error on the rows left out, before and after."""

    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # why others that lost inputs were not


def refit(
    dense: nn.Module,
    small: nn.Module,
    coupled: Coupled,
    keep: Mapping[str, Tensor],
    weights: Sequence[Weight],
    calibration: Calibration,
    progress: Tell = lambda _layer: None,
) -> Refitted:
    """Change the weights (and biases) of `small` in place, which is `dense` without what `keep` does not hold.

    `keep` are masks of the dense model's tensors by name, and `weights` describe these. A layer is left as it is where
    the rows left out say that no solution is better.
    """
    losing, reasons = _losing(coupled, keep, weights)
    done = Refitted({}, reasons)
    if not losing:
        return done
    modules = {name: small.get_submodule(name) for name in losing}
    with evaluation(dense), evaluation(small):
        pair = [LayerRuns.of(model, list(losing), calibration.batches) for model in (dense, small)]
        norms = norms_after(small, list(losing), calibration.batches[0])
        for number, name in enumerate(name for group in pair[1].calls.groups for name in group):
            progress(f"refit {number + 1} of {len(losing)}: {name}")
            mask = losing[name].as_matrix(keep[losing[name].parameter or ""])  # [K, taps, C]
            outputs = mask.flatten(1).any(1)
            weight = replace(losing[name], shape=tuple(losing[name].of(small).shape))
            free = getattr(modules[name], "bias", None) is not None or name in norms
            try:
                sums = _Sums.of(pair, name, outputs, weight, free=free)
                done.errors[name] = _solve(small, weight, norms.get(name), sums)
            except _NotSolvedError as error:
                done.reasons[name] = str(error)
        for name in losing.keys() - done.errors.keys() - done.reasons.keys():
            done.reasons[name] = "no calibration batch reached it"
    return done


class _NotSolvedError(Exception):
    pass


def _losing(
    coupled: Coupled, keep: Mapping[str, Tensor], weights: Sequence[Weight]
) -> tuple[dict[str, Weight], dict[str, str]]:
    """Return the layers that lost inputs and can be solved, and why others cannot."""
    by_parameter = {each.parameter: each for each in weights}
    found: dict[str, Weight] = {}
    reasons: dict[str, str] = {}
    for slot in (slot for own in coupled.sets for slot in own.slots if slot.reads and slot.parameter):
        mask, weight = keep.get(slot.tensor), by_parameter.get(slot.tensor)
        if mask is None or bool(mask.movedim(slot.dim, 0).flatten(1).any(1).all()):
            continue
        if weight is None:
            reasons[slot.tensor] = "what it computes is not known"
        elif (why := reason_not_solved(weight, slot)) is not None:
            reasons[weight.name] = why
        else:
            found[weight.name] = weight
    return {name: own for name, own in found.items() if name not in reasons}, reasons


@dataclass
class LayerRuns:
    """Passes of the batches through one model that end at a layer."""

    model: nn.Module
    calls: Trace
    runs: Replay

    @classmethod
    def of(cls, model: nn.Module, names: Sequence[str], batches: Sequence[Example]) -> LayerRuns:
        calls = trace(model, {name: model.get_submodule(name) for name in names}, batches)
        return cls(model, calls, replay(model, batches, calls))

    def start_for(self, name: str) -> int:
        elements = self.runs.elements
        return self.runs.start_of(
            next((i for i, own in enumerate(elements) if name == own or self.calls.within(name, own)), None)
        )

    def seen(self, at: int, start: int, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any], Any]]:
        """Return the arguments and the output of each call of the layer."""
        found: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []

        def hook(_layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            found.append((args, kwargs, output))
            if self.calls.calls[name] == 1:
                raise Enough

        with hooks() as handles:
            handles.append(self.model.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
            self.runs.run(at, start)
        return found


@dataclass
class _Sums:
    """Sums over input rows x [R, D] of the smaller model and outputs y [R, K] of the dense one; 1 ends x where `free`.

    Each of the rows to solve on, and of those left out.
    """

    gram: Tensor  # [2, D, D], of x x^T
    cross: Tensor  # [2, K, D], of y x^T
    squares: Tensor  # [2], of |y|^2
    free: bool
    rows: int = 0

    @classmethod
    def of(cls, pair: Sequence[LayerRuns], name: str, outputs: Tensor, weight: Weight, *, free: bool) -> _Sums:
        """Gather them; from the beginning of the model where a pass from its middle does not run, or not on numbers."""
        starts = [each.start_for(name) for each in pair]
        try:
            return cls._from(pair, name, starts, outputs, weight, free=free)
        except (InputError, _NotSolvedError):
            if not any(starts):
                raise
            return cls._from(pair, name, [0, 0], outputs, weight, free=free)

    @classmethod
    def _from(
        cls, pair: Sequence[LayerRuns], name: str, starts: Sequence[int], outputs: Tensor, weight: Weight, *, free: bool
    ) -> _Sums:
        dense, small = pair
        layer = small.model.get_submodule(name)
        width = weight.as_matrix(weight.of(small.model)).flatten(1).shape[1] + free
        if 8 * width * width > GRAM_LIMIT_BYTES:
            raise _NotSolvedError(f"the Gram matrices of its {width} inputs would take more memory than it may")
        count = int(outputs.sum())
        sums = cls(torch.zeros(2, width, width), torch.zeros(2, count, width), torch.zeros(2).double(), free)
        for at in range(len(dense.runs.batches)):
            wanted, given = (each.seen(at, start, name) for each, start in zip(pair, starts, strict=True))
            if len(wanted) != len(given):
                raise _NotSolvedError("the smaller model calls it more or less often")
            for (_, _, y), (args, kwargs, own) in zip(wanted, given, strict=True):
                if not (isinstance(y, Tensor) and isinstance(own, Tensor)):
                    raise _NotSolvedError("it returns more than one product")
                axis = (
                    -1 if weight.order is not None or weight.computes == "Linear" else own.ndim - len(weight.shape) + 1
                )
                flat = y.movedim(axis, -1).reshape(-1, y.shape[axis])
                if own.shape[axis] != count or flat.shape[1] != len(outputs):
                    raise _NotSolvedError("its outputs are not those of its weight")
                sums.add(input_rows(layer, args, kwargs), flat[:, outputs].float())
        if not bool(torch.isfinite(sums.gram).all() and torch.isfinite(sums.cross).all()):
            raise _NotSolvedError("its inputs or outputs on the calibration data are not finite")
        return sums

    def add(self, pieces: Iterator[Tensor], wanted: Tensor) -> None:
        """Take the rows of one call: pieces [1, R, D] of its input, and all its outputs [R, K]."""
        at, last = 0, len(wanted) - max(1, round(LEFT_OUT * len(wanted)))
        for (piece,) in pieces:
            own = torch.cat([piece, torch.ones(len(piece), 1)], 1) if self.free else piece
            for part, begin, end in ((0, at, min(at + len(piece), last)), (1, max(at, last), at + len(piece))):
                if end > begin:
                    x, y = own[begin - at : end - at], wanted[begin:end]
                    self.gram[part].addmm_(x.mT, x)
                    self.cross[part].addmm_(y.mT, x)
                    self.squares[part] += y.square().sum(dtype=torch.float64)
            at += len(piece)
        self.rows += len(wanted)


def _solve(small: nn.Module, weight: Weight, norm: str | None, sums: _Sums) -> tuple[float, float]:
    """Write the solution that does best on the rows left out; return the relative errors there, before and after."""
    own = weight.of(small)
    matrix = weight.as_matrix(own.detach())
    kind = torch.float64 if sums.gram.shape[1] <= WIDEST_EXACT else torch.float32
    before = matrix.flatten(1).to(kind)  # [K, D]
    bias = getattr(small.get_submodule(weight.name), "bias", None)
    if sums.free:
        column = torch.zeros(len(before), 1) if bias is None else bias.detach()[:, None]
        before = torch.cat([before, column.to(kind)], 1)
    (first, left), (cross, cross_left) = sums.gram.to(kind), sums.cross.to(kind)

    def error(found: Tensor) -> float:
        lost = ((found @ left) * found).sum() - 2 * (found * cross_left).sum()
        return max(0.0, float((lost + sums.squares[1]) / sums.squares[1].clamp_min(1e-30)))

    tried = {0.0: error(before)}
    for damping in DAMPINGS:
        found = _damped(first, cross, before, damping, free=sums.free)
        if found is not None and bool(torch.isfinite(found).all()):
            tried[damping] = error(found)
    best = min(tried, key=lambda damping: tried[damping])
    if best:
        found = _damped(first + left, cross + cross_left, before, best, free=sums.free)
        assert found is not None
        solved = found[:, : matrix.flatten(1).shape[1]].reshape(matrix.shape)
        with torch.no_grad():
            own.copy_(weight.from_matrix(solved))
            if sums.free:
                shift(small, weight.name, norm, (found - before)[:, -1])
    return tried[0.0], tried[best]


def _damped(gram: Tensor, cross: Tensor, before: Tensor, damping: float, *, free: bool) -> Tensor | None:
    """Return the W that minimises ||Y - W X||^2 + d ||W - before||^2, d not on the bias; None if singular. [K, D]."""
    share = torch.full((len(gram),), damping * float(gram.diagonal()[: len(gram) - free].mean()), dtype=gram.dtype)
    if free:
        share[-1] = 0
    factor, failed = torch.linalg.cholesky_ex(gram + share.diag())
    return None if int(failed) else torch.cholesky_solve((cross + before * share).mT, factor).mT
