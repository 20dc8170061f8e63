"""What a model's channels are: sets of like units, each unit with every place of every tensor that goes with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .analysis import Analysis, join_remaining, pinned_roots
from .labels import Array


@dataclass(frozen=True)
class Slot:
    """One dimension of one parameter or buffer that shrinks with the set."""

    tensor: str  # its name, as in named_parameters(remove_duplicate=False) and named_buffers
    dim: int
    positions: Tensor  # int64 [U, k], the indices along `dim` that belong to each unit
    reads: bool = False  # the dimension is summed over where the tensor is used: an input of the layer
    parameter: bool = True
    tied: bool = False  # another name of a tensor that has a slot already


@dataclass(frozen=True)
class ChannelSet:
    """Units that can be removed one by one: output channels, heads, hidden units, with all that depends on them."""

    name: str  # the first tensor's module that makes these channels, and a number where it makes several sets
    slots: tuple[Slot, ...]
    makers: tuple[str, ...]  # modules whose outputs these channels are
    group_of: Tensor | None = None  # int64 [U], the group of each unit; every group keeps the same count
    orderly: bool = True  # the places of one unit match those of the next, so that units may change places

    @property
    def units(self) -> int:
        return self.slots[0].positions.shape[0]

    @property
    def free(self) -> bool:
        """Whether the units may be permuted at will, and any number of them removed."""
        return self.orderly and self.group_of is None

    def sums(self, values: Mapping[str, Tensor]) -> Tensor:
        """Add up for each unit the values of all its weights; `values` have their parameters' shapes. -> float32 [U].

        A weight that stands in two dimensions of the set is counted for both of its units; a tied one once.
        """
        total = torch.zeros(self.units, dtype=torch.float32)
        for slot in self.slots:
            value = values.get(slot.tensor) if slot.parameter and not slot.tied else None
            if value is None:
                continue
            others = [d for d in range(value.ndim) if d != slot.dim]
            along = value.sum(dim=others, dtype=torch.float32) if others else value.float()  # [n]
            total += along[slot.positions.to(along.device)].sum(dim=1).to(total.device)
        return total


@dataclass(frozen=True)
class Coupled:
    """The sets of a model that may shrink, and why other modules' output channels stay whole."""

    sets: tuple[ChannelSet, ...]
    reasons: dict[str, str]
    analysis: Analysis = field(repr=False, compare=False)


def find_sets(analysis: Analysis, order: Mapping[str, bool]) -> tuple[ChannelSet, ...]:
    """Gather the labels that may go into sets of like units. `order` says of all tensors if they are parameters."""
    while True:
        places = _places(analysis, order)
        sets = _alike(analysis, places)
        conflict = _write_groups(analysis, sets)
        if not conflict:
            return tuple(each.channels for each in sets)
        join_remaining(analysis.labels)


@dataclass(frozen=True)
class _Place:
    tensor: str
    dim: int
    roots: Array  # [n]
    reads: bool
    parameter: bool
    tied: bool


@dataclass(frozen=True)
class _Found:
    channels: ChannelSet
    roots: Array  # [U]


def _places(analysis: Analysis, order: Mapping[str, bool]) -> list[_Place]:
    labels = analysis.labels
    read = np.unique(np.concatenate(labels.read)) if labels.read else np.empty(0, np.int64)
    found, seen = [], set()
    for name, parameter in order.items():
        tied = id(analysis.tensors[name]) in seen
        seen.add(id(analysis.tensors[name]))
        for factor in analysis.tensors[name].factors:
            own = factor.labels.ravel()
            reads = bool(np.isin(own[:1], read)[0])
            found.append(_Place(name, factor.axes[0], labels.roots(own), reads, parameter, tied))
    return found


def _alike(analysis: Analysis, places: list[_Place]) -> list[_Found]:
    """Put units into one set that stand, equally often, in the same dimensions of the same tensors."""
    if not places:
        return []
    roots = np.concatenate([place.roots for place in places])
    slot = np.concatenate([np.full(len(place.roots), i) for i, place in enumerate(places)])
    position = np.concatenate([np.arange(len(place.roots)) for place in places])
    pinned = np.fromiter(pinned_roots(analysis.labels), np.int64)
    free = ~np.isin(roots, pinned)
    roots, slot, position = roots[free], slot[free], position[free]
    ordered = np.lexsort((position, slot, roots))
    roots, slot, position = roots[ordered], slot[ordered], position[ordered]
    if not len(roots):
        return []
    starts = np.flatnonzero(np.r_[True, roots[1:] != roots[:-1]])
    alike: dict[bytes, list[int]] = {}
    ends = np.r_[starts[1:], len(roots)]
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        alike.setdefault(slot[start:end].tobytes(), []).append(i)
    found, names = [], Counter[str]()
    for key, members in alike.items():
        own = np.frombuffer(key, slot.dtype)
        table = np.stack([position[starts[i] : ends[i]] for i in members])  # [U, places]
        table = table[np.argsort(table[:, 0], kind="stable")]
        units = np.array([roots[starts[i]] for i in members])[
            np.argsort(np.array([position[starts[i]] for i in members]), kind="stable")
        ]
        if len(units) < 2 or not any(places[i].parameter for i in np.unique(own)):
            continue
        slots = tuple(
            Slot(p.tensor, p.dim, torch.from_numpy(table[:, own == i].copy()), p.reads, p.parameter, p.tied)
            for i in np.unique(own)
            for p in (places[i],)
        )
        makers = tuple(dict.fromkeys(module_of(s.tensor) for s in slots if not s.reads and s.parameter))
        wide = [s for s in slots if s.parameter and not s.reads and len(analysis.tensors[s.tensor].shape) > 1]
        name = module_of((wide or slots)[0].tensor)
        names[name] += 1
        name = name if names[name] == 1 else f"{name}:{names[name]}"
        found.append(_Found(ChannelSet(name, slots, makers, orderly=_orderly(slots)), units))
    return found


def _orderly(slots: tuple[Slot, ...]) -> bool:
    return all(bool((s.positions - s.positions[:, :1] == s.positions[:1] - s.positions[:1, :1]).all()) for s in slots)


def module_of(tensor: str) -> str:
    """Name the module that a tensor belongs to, one that it is computed from by a parametrization too."""
    return f".{tensor}".rpartition(".")[0].partition(".parametrizations.")[0].removeprefix(".")


def _write_groups(analysis: Analysis, sets: list[_Found]) -> bool:
    """Write the groups that keep equal counts into the sets; join what crosses sets or contradicts, True if any did."""
    labels, conflict = analysis.labels, False
    home = {root: (i, unit) for i, each in enumerate(sets) for unit, root in enumerate(each.roots.tolist())}
    for array in labels.shares:
        roots = labels.roots(array)
        if bool((np.sort(roots, axis=1) == np.sort(roots[:1], axis=1)).all()):
            continue
        places = [home.get(root) for root in roots.ravel().tolist()]
        known = [place for place in places if place is not None]
        if not known:
            continue
        own = sets[known[0][0]]
        group = torch.full((own.channels.units,), -1)
        if len(known) == len(places) and len({i for i, _ in known}) == 1:
            group[[unit for _, unit in known]] = torch.arange(len(roots)).repeat_interleave(roots.shape[1])
        before = own.channels.group_of
        if bool((group < 0).any()) or (before is not None and not torch.equal(before, group)):
            labels.join(array, array[:1])
            conflict = True
        else:
            sets[known[0][0]] = replace(own, channels=replace(own.channels, group_of=group))
    return conflict
