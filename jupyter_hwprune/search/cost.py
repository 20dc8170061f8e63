"""A quantity of the whole model, such as its time, as a function of the shares that its sets of channels keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

K = TypeVar("K")

Kept = Mapping[str, float]
"""The share of its units that each set of channels keeps, above 0 and at most 1."""


@dataclass(frozen=True)
class Cost:
    """A constant, a part for each set's share, and one for each product of two: a layer has inputs and outputs.

    `products` has each pair of names in their order.
    """

    constant: float = 0.0
    linear: Mapping[str, float] = field(default_factory=dict)
    products: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def of(self, kept: Kept) -> float:
        """Return the cost of a model whose sets keep these shares; a set that is not named keeps all."""
        linear = sum(value * kept.get(name, 1.0) for name, value in self.linear.items())
        return (
            self.constant + linear + sum(v * kept.get(a, 1.0) * kept.get(b, 1.0) for (a, b), v in self.products.items())
        )

    def scaled(self, factor: float) -> Cost:
        linear = {name: factor * value for name, value in self.linear.items()}
        return Cost(factor * self.constant, linear, {pair: factor * value for pair, value in self.products.items()})

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.constant + other.constant, _added(self.linear, other.linear), _added(self.products, other.products)
        )

    def times(self, other: Cost) -> Cost:
        """Multiply two costs without products of their own."""
        assert not self.products
        assert not other.products
        products: dict[tuple[str, str], float] = {}
        for a, own in self.linear.items():
            for b, value in other.linear.items():
                pair = (a, b) if a <= b else (b, a)
                products[pair] = products.get(pair, 0.0) + own * value
        linear = _added(other.scaled(self.constant).linear, self.scaled(other.constant).linear)
        return Cost(self.constant * other.constant, linear, products)


def _added(one: Mapping[K, float], other: Mapping[K, float]) -> dict[K, float]:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in (*one, *(key for key in other if key not in one))}
