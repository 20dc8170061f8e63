"""Rules of chips and of their kernels: what each says, and whether it holds for a layer.

The strategy matrix, the choice of layers for sparse kernels, and the advice in reports use these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .pattern import NM, Block, Channel, Pattern

Kind = Literal["linear", "convolution", "transposed convolution", "other"]
KINDS: Mapping[str, Kind] = {
    "Linear": "linear",
    **{f"Conv{n}d": "convolution" for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": "transposed convolution" for n in (1, 2, 3)},
}


@dataclass(frozen=True)
class LayerFacts:
    """The facts that rules check: `inputs` are the channels of one group, `rows` those of the product (None: unknown).

    `module` is the name of the layer's class, `taps` the sides of a convolution's kernel, `dtype` the data type to run.
    """

    module: str
    outputs: int
    inputs: int
    taps: tuple[int, ...] = ()
    groups: int = 1
    rows: int | None = None
    dtype: str = "float32"
    pattern: Pattern | None = None

    @property
    def kind(self) -> Kind:
        return KINDS.get(self.module, "other")

    @classmethod
    def of_weight(cls, module: str, shape: tuple[int, ...], *, groups: int = 1) -> LayerFacts:
        """Read the channels off a weight's shape, as torch lays it out: a transposed one has its inputs first."""
        first, second, *taps = (*shape, 1, 1)[: max(2, len(shape))]
        if KINDS.get(module) == "transposed convolution":
            return cls(module, second * groups, first // groups, tuple(taps), groups)
        return cls(module, first, second, tuple(taps), groups)

    def given(self, *, rows: int | None = None, dtype: str = "float32", pattern: Pattern | None = None) -> LayerFacts:
        return replace(self, rows=rows, dtype=dtype, pattern=pattern)


@dataclass(frozen=True)
class Rule:
    """`says` states the rule of a chip or kernel; `broken` returns why a layer breaks it, None if it does not."""

    says: str
    broken: Callable[[LayerFacts], str | None]

    def holds(self, layer: LayerFacts) -> bool:
        return self.broken(layer) is None


@dataclass(frozen=True)
class SparseKernels:
    """The weights that a toolchain has sparse kernels for: those with `pattern`, in layers that keep all `rules`.

    A kernel also runs in layers that break a rule of `pays`, but seldom gains there.
    """

    pattern: NM
    rules: tuple[Rule, ...]
    pays: tuple[Rule, ...] = ()

    def take(self, pattern: Pattern) -> bool:
        """Say whether weights with `pattern` also hold the kernels' pattern."""
        return isinstance(pattern, NM) and pattern.m == self.pattern.m and pattern.n <= self.pattern.n

    def why_not(self, layer: LayerFacts) -> str | None:
        return next((why for rule in self.rules if (why := rule.broken(layer)) is not None), None)


def no_rule(says: str) -> Rule:
    """Return a vendor's statement that cannot be checked on a layer."""
    return Rule(says, lambda _: None)


def only(modules: tuple[str, ...], says: str, refusal: str) -> Rule:
    """Require one of these classes of layers; `refusal` has `{}` for the name of any other class."""
    return Rule(says, lambda layer: None if layer.module in modules else refusal.format(layer.module))


def ungrouped(says: str, refusal: str) -> Rule:
    return Rule(says, lambda layer: None if layer.groups == 1 else refusal)


def both_multiples(says: str, who: str, multiples: Mapping[str, int]) -> Rule:
    """Require multiples of output and input channels by dtype; a dtype that is not listed needs none."""

    def broken(layer: LayerFacts) -> str | None:
        multiple = multiples.get(layer.dtype)
        if multiple is None or not (layer.outputs % multiple or layer.inputs % multiple):
            return None
        takes = f"{who} in {layer.dtype} takes multiples of {multiple}"
        return f"{takes}, and it has {layer.outputs} outputs by {layer.inputs} inputs"

    return Rule(says, broken)


def channels_in(multiple: int, says: str | None = None) -> Rule:
    """Require a multiple of output channels when channels are removed."""

    def broken(layer: LayerFacts) -> str | None:
        if not isinstance(layer.pattern, Channel) or layer.outputs % multiple == 0:
            return None
        return f"it keeps {layer.outputs} channels, no multiple of {multiple}"

    return Rule(says or f"channels in multiples of {multiple}", broken)


def blocks_of(side: int, says: str) -> Rule:
    """Require blocks that fill a matrix unit of side `side`."""

    def broken(layer: LayerFacts) -> str | None:
        pattern = layer.pattern
        if not isinstance(pattern, Block) or not (pattern.rows % side or pattern.columns % side):
            return None
        return f"blocks of {pattern} do not fill it"

    return Rule(says, broken)


def at_least_rows(rows: int, says: str) -> Rule:
    def broken(layer: LayerFacts) -> str | None:
        if layer.rows is None or layer.rows >= rows:
            return None
        return f"fewer than {rows} rows (batch times tokens, here {layer.rows})"

    return Rule(says, broken)


def at_least_inputs(inputs: int, says: str, kind: Kind) -> Rule:
    def broken(layer: LayerFacts) -> str | None:
        concerned = layer.kind == kind and isinstance(layer.pattern, NM)
        return f"it has {layer.inputs} input channels" if concerned and layer.inputs < inputs else None

    return Rule(says, broken)
