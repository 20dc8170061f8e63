"""What a model's channels are: sets of like units, each unit with every place of every tensor that goes with it."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .analysis import Analysis, join_remaining
from .labels import Array, concatenated


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
    def groups(self) -> int:
        return 1 if self.group_of is None else int(self.group_of.max()) + 1

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
        sets = _alike(analysis, _places(analysis, order))
        if not _write_groups(analysis, sets):
            return tuple(channels for channels, _ in sets)
        join_remaining(analysis.labels)


def _places(analysis: Analysis, order: Mapping[str, bool]) -> list[tuple[Slot, Array]]:
    """List each dimension that has labels, with the joined ones [n]; where the units stand in it comes later."""
    labels, nowhere = analysis.labels, torch.empty(0, 0, dtype=torch.int64)
    read = np.unique(concatenated(labels.read))
    found, seen = [], set()
    for name, parameter in order.items():
        value = analysis.tensors[name]
        for factor in value.factors:
            own = factor.labels.ravel()
            reads = bool(np.isin(own[:1], read)[0])
            slot = Slot(name, factor.axes[0], nowhere, reads, parameter, tied=id(value) in seen)
            found.append((slot, labels.roots(own)))
        seen.add(id(value))
    return found


def _alike(analysis: Analysis, places: list[tuple[Slot, Array]]) -> list[tuple[ChannelSet, Array]]:
    """Put units into one set that stand, equally often, in the same dimensions of the same tensors; roots [U] each."""
    roots = concatenated([own for _, own in places])
    slot = concatenated([np.full(len(own), i) for i, (_, own) in enumerate(places)])
    position = concatenated([np.arange(len(own)) for _, own in places])
    free = np.flatnonzero(~analysis.labels.pinned(roots))
    ordered = free[np.lexsort((position[free], slot[free], roots[free]))]
    roots, slot, position = roots[ordered], slot[ordered], position[ordered]
    starts = np.flatnonzero(np.diff(roots, prepend=-1))
    alike: defaultdict[bytes, list[tuple[Array, int]]] = defaultdict(list)
    for start, end in pairwise((*starts.tolist(), len(roots))):
        alike[slot[start:end].tobytes()].append((position[start:end], roots[start]))
    found, names = [], Counter[str]()
    for key, members in alike.items():
        own = np.frombuffer(key, slot.dtype)
        used = np.unique(own).tolist()
        if len(members) < 2 or not any(places[i][0].parameter for i in used):
            continue
        members.sort(key=lambda member: int(member[0][0]))
        table = np.stack([positions for positions, _ in members])  # [U, places]
        slots = tuple(replace(places[i][0], positions=torch.from_numpy(table[:, own == i].copy())) for i in used)
        makers = tuple(dict.fromkeys(module_of(s.tensor) for s in slots if not s.reads and s.parameter))
        wide = [s for s in slots if s.parameter and not s.reads and len(analysis.tensors[s.tensor].shape) > 1]
        name = module_of((wide or slots)[0].tensor)
        names[name] += 1
        name = name if names[name] == 1 else f"{name}:{names[name]}"
        units = np.array([root for _, root in members])
        found.append((ChannelSet(name, slots, makers, orderly=_orderly(slots)), units))
    return found


def _orderly(slots: tuple[Slot, ...]) -> bool:
    return all(bool((s.positions - s.positions[:, :1] == s.positions[:1] - s.positions[:1, :1]).all()) for s in slots)


def module_of(tensor: str) -> str:
    """Name the module that a tensor belongs to, one that it is computed from by a parametrization too."""
    return f".{tensor}".rpartition(".")[0].partition(".parametrizations.")[0].removeprefix(".")


def _write_groups(analysis: Analysis, sets: list[tuple[ChannelSet, Array]]) -> bool:
    """Write the groups that keep equal counts into the sets; join what crosses sets or contradicts, True if any did."""
    labels, conflict = analysis.labels, False
    home = {root: (i, unit) for i, (_, roots) in enumerate(sets) for unit, root in enumerate(roots.tolist())}
    for array in labels.shares:
        roots = labels.roots(array)
        known = [home[root] for root in roots.ravel().tolist() if root in home]
        if not known or bool((np.sort(roots, axis=1) == np.sort(roots[:1], axis=1)).all()):
            continue
        at = known[0][0]
        channels, units = sets[at]
        group = torch.full((channels.units,), -1)
        if len(known) == roots.size and all(i == at for i, _ in known):
            group[[unit for _, unit in known]] = torch.arange(len(roots)).repeat_interleave(roots.shape[1])
        before = channels.group_of
        if bool((group < 0).any()) or (before is not None and not torch.equal(before, group)):
            labels.join(array, array[:1])
            conflict = True
        else:
            sets[at] = replace(channels, group_of=group), units
    return conflict
