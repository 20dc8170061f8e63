"""Choose how many channels each set keeps: the least loss within the limits, exactly, by integer programming.

A set keeps one of a few widths; a layer's cost is a product of two widths, which becomes linear by one continuous
variable for each width of the first (McCormick 1976). HiGHS solves it (Huangfu and Hall 2018), through scipy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from .cost import Cost

TIME_LIMIT_S = 20.0
GAP = 1e-3  # of the loss: a better plan than this is not looked for


@dataclass(frozen=True)
class Level:
    """One width of a set: the share of its units that stay, and the loss that goes with it."""

    kept: float
    loss: float


def solve(
    sets: Mapping[str, Sequence[Level]], costs: Sequence[tuple[Cost, float]], time_limit_s: float = TIME_LIMIT_S
) -> dict[str, Level] | None:
    """Return the level of each set with the smallest sum of losses, each cost within its limit; None if none is."""
    program = _Program(sets)
    for cost, limit in costs:
        program.add_limit(cost, limit)
    return program.solve(time_limit_s)


class _Program:
    """The variables: one in {0, 1} for each level of each set, and the parts of the products."""

    def __init__(self, sets: Mapping[str, Sequence[Level]]) -> None:
        self.sets = sets
        self.first: dict[str, int] = {}
        self.size = 0
        for name, levels in sets.items():
            self.first[name] = self.size
            self.size += len(levels)
        self.whole = self.size
        self.rows: list[tuple[dict[int, float], float, float]] = []  # coefficients, least, most
        self.products: dict[tuple[str, str], dict[int, float]] = {}
        for name, levels in sets.items():
            self.rows.append(({self.first[name] + i: 1.0 for i in range(len(levels))}, 1.0, 1.0))

    def add_limit(self, cost: Cost, limit: float) -> None:
        row: dict[int, float] = {}
        constant = cost.constant
        for name, value in cost.linear.items():
            constant += _add(row, self._share(name), value)
        for pair, value in cost.products.items():
            constant += _add(row, self._product(*pair), value)
        self.rows.append((row, -np.inf, limit - constant))

    def solve(self, time_limit_s: float) -> dict[str, Level] | None:
        losses = [level.loss for levels in self.sets.values() for level in levels]
        largest = max(losses, default=0.0) or 1.0
        objective = np.zeros(self.size)
        objective[: self.whole] = np.array(losses) / largest
        places = [(row, column, value) for row, (own, _, _) in enumerate(self.rows) for column, value in own.items()]
        at, columns, values = (np.array(each) for each in zip(*places, strict=True))
        matrix = coo_array((values, (at, columns)), shape=(len(self.rows), self.size)).tocsr()
        constraints = LinearConstraint(matrix, [row[1] for row in self.rows], [row[2] for row in self.rows])
        integrality = (np.arange(self.size) < self.whole).astype(int)
        options = {"time_limit": time_limit_s, "mip_rel_gap": GAP}
        found = milp(objective, constraints=constraints, integrality=integrality, bounds=Bounds(0, 1), options=options)
        if found.x is None:
            return None
        return {
            name: levels[int(np.argmax(found.x[self.first[name] : self.first[name] + len(levels)]))]
            for name, levels in self.sets.items()
        }

    def _share(self, name: str) -> dict[int, float] | float:
        """Return a set's share as a sum over its levels; that of a set that is no choice is 1."""
        if name not in self.sets:
            return 1.0
        return {self.first[name] + i: level.kept for i, level in enumerate(self.sets[name])}

    def _product(self, a: str, b: str) -> dict[int, float] | float:
        if a not in self.sets or b not in self.sets:
            return self._share(b if a not in self.sets else a)
        if a == b:
            return {self.first[a] + i: level.kept**2 for i, level in enumerate(self.sets[a])}
        if (a, b) not in self.products:
            self.products[a, b] = self._linearised(a, b)
        return self.products[a, b]

    def _linearised(self, a: str, b: str) -> dict[int, float]:
        """Add a part for each level of `a`: the share of `b` where that level is taken, and 0 where it is not."""
        levels, share = self.sets[a], self._share(b)
        assert isinstance(share, dict)
        parts = range(self.size, self.size + len(levels))
        self.size += len(levels)
        least, most = (of(level.kept for level in self.sets[b]) for of in (min, max))
        for i, part in enumerate(parts):
            taken = self.first[a] + i
            self.rows.append(({part: 1.0, taken: -most}, -np.inf, 0.0))
            self.rows.append(({part: 1.0, taken: -least}, 0.0, np.inf))
        self.rows.append((dict.fromkeys(parts, 1.0) | {at: -kept for at, kept in share.items()}, 0.0, 0.0))
        return {part: level.kept for part, level in zip(parts, levels, strict=True)}


def _add(row: dict[int, float], part: dict[int, float] | float, value: float) -> float:
    """Add `value` times a part to the row; return what of it is constant."""
    if isinstance(part, float):
        return value * part
    for column, coefficient in part.items():
        row[column] = row.get(column, 0.0) + value * coefficient
    return 0.0
