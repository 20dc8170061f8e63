"""What a search over widths may choose: the sets of channels of a model, and the layers that each makes and feeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..core.pattern import Channel
from ..pruning.allocation import leave_dense
from ..pruning.channels import Channels, units_left
from ..pruning.graph import ChannelSet
from ..pruning.layers import layers_with_weights, rows_of
from ..pruning.plan import Part, Plan
from .cost import Cost, Kept

MOST_LEVELS = 16  # of one set


@dataclass(frozen=True)
class Sides:
    """The share of a layer's outputs and of its inputs that stays, each as a cost without products."""

    outputs: Cost
    inputs: Cost


@dataclass(frozen=True)
class Space:
    """The sets that may shrink, by name, and how many units each may keep, the most first.

    A set keeps a multiple of the pattern's, as the target's kernels like it.
    """

    channels: Channels
    pattern: Channel
    sets: Mapping[str, ChannelSet]
    widths: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, channels: Channels, pattern: Channel, dense: Iterable[str]) -> Space:
        """Leave out the sets that a layer named in `dense` makes, and those that cannot shrink."""
        named = leave_dense([name for name, _ in layers_with_weights(channels.dense)], tuple(dense))
        sets = {each.name: each for each in channels.coupled.sets if named.isdisjoint(each.makers)}
        widths = {name: _widths(each, pattern) for name, each in sets.items()}
        able = {name: own for name, own in widths.items() if len(own) > 1}
        return cls(channels, pattern, {name: sets[name] for name in able}, able)

    def share(self, name: str, units: int) -> float:
        return units / self.sets[name].units

    def kept(self, plan: Mapping[str, int]) -> Kept:
        """Return the share that each set keeps, of a plan of units."""
        return {name: self.share(name, units) for name, units in plan.items()}

    def nearest(self, kept: Kept) -> dict[str, int]:
        """Return the plan with the possible widths that are nearest to these shares."""
        return {
            name: min(self.widths[name], key=lambda units: abs(self.share(name, units) - share))
            for name, share in kept.items()
        }

    def planned(self, plan: Mapping[str, int], channels: Channels, named: Mapping[str, str] | None = None) -> Plan:
        """Return the plan for `pruning.prune` of a model with these channels: the dense one, or one made from it.

        `named` has the dense names of modules that bear others there. Sets are known by the layers that make them.
        """
        home = {maker: name for name, each in self.sets.items() for maker in each.makers}
        parts = {}
        for each in channels.coupled.sets:
            makers = [(named or {}).get(maker, maker) for maker in each.makers]
            name = next((home[maker] for maker in makers if home.get(maker) in plan), None)
            if name is not None and (left := self.share(name, plan[name])) < 1:
                parts[each.name] = Part(self.pattern, 1 - left)
        return Plan(parts)

    @cached_property
    def _rows(self) -> dict[str, str]:
        """The layer's row of each matrix, by the parameter's name."""
        modules = self.channels.dense.named_modules()
        return {parameter: row for path, module in modules for parameter, row in rows_of(path, module).items()}

    @cached_property
    def layers(self) -> dict[str, Sides]:
        """Return for each layer that a set makes or feeds how its sides shrink."""
        model = self.channels.dense
        rows = self._rows
        outputs, inputs = (defaultdict[str, dict[str, float]](dict) for _ in range(2))
        shapes = {name: parameter.shape for name, parameter in model.named_parameters(remove_duplicate=False)}
        for name, own in self.sets.items():
            for slot in own.slots:
                if slot.parameter and not slot.tied and slot.tensor in rows:
                    side = inputs if slot.reads else outputs
                    share = slot.positions.numel() / shapes[slot.tensor][slot.dim]
                    row = side[rows[slot.tensor]]
                    row[name] = row.get(name, 0.0) + share
        return {row: Sides(_side(outputs[row]), _side(inputs[row])) for row in {**outputs, **inputs}}

    def weights(self, gone: Callable[[str], bool] = lambda _name: False) -> Cost:
        """Return the number of weights as a cost, without the parameters whose names are `gone`."""
        model = self.channels.dense
        total = Cost()
        for name, parameter in model.named_parameters():
            if gone(name):
                continue
            sides, size = self.layers.get(self._rows.get(name, "")), float(parameter.numel())
            total += Cost(size) if sides is None else sides.outputs.times(sides.inputs).scaled(size)
        return total


def _side(shares: Mapping[str, float]) -> Cost:
    return Cost(max(0.0, 1.0 - sum(shares.values())), dict(shares))


def _widths(own: ChannelSet, pattern: Channel) -> tuple[int, ...]:
    """Return the numbers of units that a set may keep, spread evenly where there are many."""
    possible = sorted({units_left(own, wanted, pattern) for wanted in range(1, own.units + 1)}, reverse=True)
    if len(possible) <= MOST_LEVELS:
        return tuple(possible)
    step = (len(possible) - 1) / (MOST_LEVELS - 1)
    return tuple(dict.fromkeys(possible[round(i * step)] for i in range(MOST_LEVELS)))
