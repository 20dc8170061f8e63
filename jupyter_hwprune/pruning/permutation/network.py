"""Channels of a whole model put into an order that suits a pattern: makers and readers move together.

What the model computes stays the same, for no layer cares in which order its inputs come. That is checked and not
believed: a set of channels after whose move the outputs differ goes back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...core.copying import copied
from ...core.example import Example
from ...core.pattern import NM, Block
from ..equivalence import TOLERANCE, relative_difference
from ..graph import ChannelSet, analyse, permute
from ..importance import magnitude
from ..layers import PRUNABLE, TRANSPOSED, Prunable, as_matrix, reason_not_prunable
from .blocks import COLUMNS, ROWS, Axis, arrange, move, retained_in_blocks
from .groups import bound, retained, search

Scores = Callable[[str, Tensor], Tensor]  # a layer's name and weight -> the importance of each of its weights


@dataclass(frozen=True)
class Permuted:
    """What an order of one set of channels brings to `layers`, which take them as inputs (for blocks: make them too).

    Sums of scores: `total` of all, of them retained `before` and `after`, and at `most` with as many weights of each
    row wherever they stand (None for blocks). `reason` says why the set was left as it was; None where it has moved.
    """

    name: str
    layers: tuple[str, ...]
    total: float
    before: float
    after: float
    most: float | None = None
    reason: str | None = None


def permute_for(
    model: nn.Module,
    example: Example,
    pattern: NM | Block,
    scores: Scores | None = None,
    *,
    sparsity: float = 0.5,
    rounds: int | None = None,
) -> tuple[Permuted, ...]:
    """Reorder channels of `model` in place so that the pattern loses less of the scores; its function stays.

    One order serves all layers that read a set of channels: their scores, by default magnitudes, are stacked. `scores`
    has to score a weight by its values alone, not by its place. `sparsity` is the share of blocks to be removed, and
    `rounds` are those of `search`. Returns what became of each set that a prunable layer reads. Raises PruneError
    where the model's graph cannot be read.
    """
    layers = _prunable(model, pattern)
    score = scores or (lambda _, weight: magnitude(weight))
    matrices = {name: as_matrix(score(name, layer.weight.detach()), layer).float() for name, layer in layers.items()}
    found = [(each, _places(model, each, layers)) for each in analyse(model, example).sets if each.free]
    if isinstance(pattern, Block):
        planned = _plan_blocks(found, matrices, pattern, sparsity)
    else:
        plans = [_plan_groups(channels, places, matrices, pattern, rounds) for channels, places in found]
        planned = [plan for plan in plans if plan is not None]
    return _move(model, example, planned)


Places = dict[tuple[str, int], Tensor]  # layer, ROWS or COLUMNS -> where a set stands there, int64 [U, k]
Move = tuple[ChannelSet, Tensor, Permuted]  # with the order of its units


def _prunable(model: nn.Module, pattern: NM | Block) -> dict[str, Prunable]:
    """Return the layers whose weights the pattern fits, each weight once."""
    rows, columns = (1, pattern.m) if isinstance(pattern, NM) else (pattern.rows, pattern.columns)
    found: dict[int, tuple[str, Prunable]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, PRUNABLE) or reason_not_prunable(module) is not None:
            continue
        if isinstance(module, TRANSPOSED) and module.groups > 1:
            continue  # one column of its matrix holds another input channel in each group
        outputs, _, inputs = as_matrix(module.weight, module).shape
        if outputs % rows == 0 and inputs % columns == 0:
            found.setdefault(id(module.weight), (name, module))
    return dict(found.values())


def _places(model: nn.Module, channels: ChannelSet, layers: Mapping[str, Prunable]) -> Places:
    names = {id(layer.weight): name for name, layer in layers.items()}
    found = {}
    for slot in channels.slots:
        name = names.get(id(model.get_parameter(slot.tensor))) if slot.parameter else None
        if name is not None and slot.dim < 2:
            inputs_first = isinstance(layers[name], TRANSPOSED)
            found[name, COLUMNS if (slot.dim == 0) == inputs_first else ROWS] = slot.positions
    return found


def _plan_groups(
    channels: ChannelSet, places: Places, matrices: Mapping[str, Tensor], pattern: NM, rounds: int | None
) -> Move | None:
    """Search one order for the columns of all readers; None where n:m does not depend on the order."""
    readers = {name: at for (name, dim), at in places.items() if dim == COLUMNS and not _each_alone(at, pattern.m)}
    if not readers:
        return None
    order = torch.arange(channels.units)
    mixed = next((name for name, at in readers.items() if not _among_themselves(at, pattern.m)), None)
    if mixed is not None:
        whole = [matrices[name].flatten(0, 1) for name in readers]  # [K * taps, C] each
        before = sum(retained(own, pattern) for own in whole)
        reason = f"in {mixed} its channels stand in groups of {pattern.m} with others"
        result = Permuted(channels.name, tuple(readers), sum(map(_total, whole)), before, before, None, reason)
        return channels, order, result
    stacked = torch.cat([matrices[name].flatten(0, 1)[:, own] for name, at in readers.items() for own in at.unbind(1)])
    order = search(stacked, pattern, rounds=rounds)
    before, after = retained(stacked, pattern), retained(stacked, pattern, order)
    result = Permuted(channels.name, tuple(readers), _total(stacked), before, after, bound(stacked, pattern))
    return channels, order, result if after > before else replace(result, reason="no order found retains more")


def _each_alone(positions: Tensor, m: int) -> bool:
    """Say whether every group of m holds one unit only, so that n:m is the same wherever the unit stands."""
    k = positions.shape[1]
    inside = positions - positions[:, :1] == torch.arange(k)
    return k % m == 0 and bool(inside.all()) and not bool((positions[:, 0] % m).any())


def _among_themselves(positions: Tensor, m: int) -> bool:
    """Say whether the k-th positions of all units are neighbours in the units' order, and fill their groups of m."""
    units = len(positions)
    in_line = positions - positions[:1] == torch.arange(units)[:, None]
    return units % m == 0 and bool(in_line.all()) and not bool((positions[0] % m).any())


def _plan_blocks(
    found: list[tuple[ChannelSet, Places]], matrices: Mapping[str, Tensor], pattern: Block, sparsity: float
) -> list[Move]:
    """Arrange all sets together, for each layer's blocks depend on the order of its inputs and of its outputs."""
    present = [(channels, places) for channels, places in found if places]
    names = list(dict.fromkeys(name for _, places in present for name, _ in places))
    own = [matrices[name] for name in names]
    sets = [[Axis(names.index(name), dim, at) for (name, dim), at in places.items()] for _, places in present]
    orders = arrange(own, sets, pattern, sparsity)
    moved = list(own)
    for axes, order in zip(sets, orders, strict=True):
        for axis in axes:
            moved[axis.matrix] = move(moved[axis.matrix], axis, order)
    plans = []
    for (channels, places), order in zip(present, orders, strict=True):
        layers = tuple(dict.fromkeys(name for name, _ in places))
        at = [names.index(name) for name in layers]
        before, after = (sum(retained_in_blocks(each[i], pattern, sparsity) for i in at) for each in (own, moved))
        total = sum(_total(own[i]) for i in at)
        reason = "no order found retains more" if torch.equal(order, torch.arange(channels.units)) else None
        plans.append((channels, order, Permuted(channels.name, layers, total, before, after, None, reason)))
    return plans


def _total(scores: Tensor) -> float:
    return float(scores.sum(dtype=torch.float64))


def _move(model: nn.Module, example: Example, planned: list[Move]) -> tuple[Permuted, ...]:
    """Permute `model` set by set, where a twin with other weights computes the same before and after."""
    results = []
    twin, example = _stirred(model), example.as_float32()
    expected = example.outputs(twin)
    for channels, order, result in planned:
        if result.reason is None:
            permute(twin, channels, order)
            difference = relative_difference(example.outputs(twin), expected)
            if difference <= TOLERANCE:
                permute(model, channels, order)
            else:
                permute(twin, channels, order.argsort())
                reason = f"the model's output changed by {difference:.1e} of its largest value"
                result = replace(result, after=result.before, reason=reason)  # noqa: PLW2901
        results.append(result)
    return tuple(results)


def _stirred(model: nn.Module) -> nn.Module:
    """Copy the model with noise on all weights: its own may end in zeros, behind which a fault would not be seen."""
    twin = copied(model).float().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.is_floating_point() and parameter.numel():
                spread = parameter.std(correction=0).item() or 1.0
                parameter.add_(torch.randn(parameter.shape, generator=generator) * (0.1 * spread))
    return twin
