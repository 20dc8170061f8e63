"""Score channels by the second-order loss of the layers that read them, gathered layer by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..calibration import Calibration
from ..graph import ChannelSet
from ..layers import Weight
from ..method import Tell
from ..sequential import layer_by_layer
from ..statistics import GRAM_LIMIT_BYTES, Statistics
from .consumers import Consumer, consumers_of, norms_after
from .greedy import Problem, factored, removal_order

DAMPING = 1e-3  # of the Gram matrix's mean diagonal
WIDEST_EXACT = 4096  # of the Gram matrices that are inverted in float64


@dataclass(frozen=True)
class Solvable:
    """One layer that reads a set: `error` is tr W G W^T of its weight, and `mean` [D] that of its inputs."""

    consumer: Consumer
    problem: Problem
    error: float
    mean: Tensor
    norm: str | None  # the BatchNorm that takes its output, where it has no bias


def second_order(
    dense: nn.Module,
    sets: Sequence[ChannelSet],
    weights: Sequence[Weight],
    calibration: Calibration,
    progress: Tell = lambda _set: None,
) -> dict[str, Tensor]:
    """Score the units of each set that some layer sums over: name -> float32 [U], rising in the order of removal.

    A unit's score is what the relative squared errors of those layers' outputs grow by, on the calibration inputs, when
    it goes after all units of lower scores and the channels left make up for it. `weights` are those of `dense`, which
    stays as it is. A set's matrices are held until the last of its layers was reached; of those that many layers read,
    such as a residual stream, no more than GRAM_LIMIT_BYTES, and the layers beyond have no say.
    """
    held: dict[str, list[Problem]] = {own.name: [] for own in sets}
    units = {own.name: own.units for own in sets}
    found: dict[str, Tensor] = {}
    last: dict[str, Solvable] = {}

    def add(name: str, own: Solvable) -> None:
        problem = Problem(own.problem.inverse, own.problem.weight / own.error**0.5, own.problem.columns)
        before = last.get(name)
        if before is not None and before.problem.inverse is problem.inverse and _same_columns(before.problem, problem):
            held[name][-1].weight = torch.cat([held[name][-1].weight, problem.weight])  # q, k and v are one problem
        elif sum(each.inverse.nbytes for each in held[name]) + problem.inverse.nbytes <= GRAM_LIMIT_BYTES:
            held[name].append(problem)
            last[name] = own

    def finish(name: str) -> None:
        problems = held.pop(name)
        last.pop(name, None)
        if problems:
            progress(f"rank {name}")
            found[name] = _rising(*removal_order(problems, units[name]), units[name])

    each_solvable(dense, sets, weights, calibration, add, finish)
    return found


def each_solvable(
    dense: nn.Module,
    sets: Sequence[ChannelSet],
    weights: Sequence[Weight],
    calibration: Calibration,
    add: Callable[[str, Solvable], None],
    finish: Callable[[str], None] = lambda _set: None,
) -> None:
    """Call `add` with each set's name and layers, in the model's order, and `finish` after a set's last one."""
    by_parameter = {each.parameter: each for each in weights}
    readers: defaultdict[str, list[tuple[str, Consumer]]] = defaultdict(list)
    left: dict[str, int] = {}
    for own in sets:
        consumers = consumers_of(own, by_parameter)
        left[own.name] = len(consumers)
        for consumer in consumers:
            readers[consumer.weight.name].append((own.name, consumer))
    norms = norms_after(dense, list(readers), calibration.batches[0]) if readers else {}
    known: list[tuple[Statistics, bool, Tensor]] = []  # the last inverse, for neighbours that read the same tensor

    def visit(name: str, layer: nn.Module, statistics: Statistics) -> None:
        free = getattr(layer, "bias", None) is not None or name in norms
        if not (known and known[0][0] is statistics and known[0][1] == free):
            known[:] = [(statistics, free, _inverse(statistics, centred=free))]
        inverse = known[0][2]
        for own, consumer in readers[name]:
            weight = consumer.weight.as_matrix(consumer.weight.of(dense).detach()).flatten(1).to(inverse.dtype)
            gram = (statistics.centred_gram() if free else statistics.gram)[0]  # type: ignore[index]
            error = float(((weight.float() @ gram) * weight).sum()) / statistics.rows
            if error > 0:
                problem = Problem(inverse, weight, consumer.columns)
                add(own, Solvable(consumer, problem, error, statistics.means[0], norms.get(name)))
            left[own] -= 1
            if not left[own]:
                finish(own)

    widths = {name: own.weight.channels[1] for name, ((_, own), *_) in readers.items() if own.weight.order is not None}
    layer_by_layer(dense, list(readers), calibration, visit, gram=True, widths=widths)
    for name, more in left.items():
        if more:  # some of its layers were never reached
            finish(name)


def _inverse(statistics: Statistics, *, centred: bool) -> Tensor:
    """Return the inverse of the damped mean of x x^T. -> [D, D]."""
    gram = statistics.centred_gram() if centred else statistics.gram
    assert gram is not None
    mean = gram[0].to(torch.float64 if gram.shape[1] <= WIDEST_EXACT else torch.float32) / statistics.rows
    mean.diagonal().add_(max(DAMPING * float(mean.diagonal().mean()), torch.finfo(torch.float32).tiny))
    return torch.cholesky_inverse(factored(mean))


def _same_columns(one: Problem, other: Problem) -> bool:
    return torch.equal(one.columns, other.columns)


def _rising(order: Tensor, costs: Tensor, units: int) -> Tensor:
    """Return the costs by unit, each a little above that of the unit removed before at least. -> float32 [U]."""
    scores = torch.full((units,), torch.inf)
    least = -torch.inf
    for unit, cost in zip(order.tolist(), costs.float().tolist(), strict=True):
        least = max(cost, float(torch.nextafter(torch.tensor(least), torch.tensor(torch.inf))))
        scores[unit] = least
    scores[scores == torch.inf] = 2 * least
    return scores
