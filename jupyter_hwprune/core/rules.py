"""Rules of chips and of their kernels: what each says, and whether it holds for a layer.

The strategy matrix, the choice of layers for sparse kernels, and the advice in reports use these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .pattern import NM, Block, Channel, Pattern

CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d")
TRANSPOSED = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


@dataclass(frozen=True)
class LayerFacts:
    """The facts that rules check: `inputs` are the channels of one group, `rows` those of the product (None: unknown).

    `module` is the name of the layer's class, `dtype` the data type to run, `kernel` a convolution's sides.
    """

    module: str
    outputs: int
    inputs: int
    groups: int = 1
    rows: int | None = None
    dtype: str = "float32"
    pattern: Pattern | None = None
    kernel: tuple[int, ...] = ()

    @classmethod
    def of_weight(cls, module: str, shape: tuple[int, ...]) -> LayerFacts:
        """Read the channels off a weight's shape, as torch lays it out: a transposed one has its inputs first."""
        first, second = (*shape, 1, 1)[:2]
        outputs, inputs = (second, first) if module in TRANSPOSED else (first, second)
        return cls(module, outputs, inputs, kernel=shape[2:])


Broken = Callable[[LayerFacts], str | None]


@dataclass(frozen=True)
class Rule:
    """`says` states the rule of a chip; `broken` returns how a layer breaks it, None if it holds or is not known.

    `code` is the mistake's if a layer breaks it; channels have to be a multiple of `multiple`.
    """

    says: str
    broken: Broken = lambda _: None
    code: str = "HWP107"  # the chip does not take such a layer
    multiple: int | None = None

    def holds(self, layer: LayerFacts) -> bool:
        return self.broken(layer) is None


@dataclass(frozen=True)
class SparseKernels:
    """The weights that a toolchain has sparse kernels for: those with `pattern`, in layers that break none of `rules`.

    A kernel also runs in layers that break a rule of `pays`, but seldom gains there.
    """

    pattern: NM
    rules: tuple[Broken, ...]
    pays: tuple[Rule, ...] = ()

    def take(self, pattern: Pattern) -> bool:
        """Say whether weights with `pattern` also hold the kernels' pattern."""
        return isinstance(pattern, NM) and pattern.m == self.pattern.m and pattern.n <= self.pattern.n

    def why_not(self, layer: LayerFacts) -> str | None:
        return next((why for broken in self.rules if (why := broken(layer)) is not None), None)


def only(modules: tuple[str, ...], refusal: str) -> Broken:
    """Require one of these classes of layers; `refusal` has `{}` for the name of any other class."""
    return lambda layer: None if layer.module in modules else refusal.format(layer.module)


def both_multiples(who: str, multiples: Mapping[str, int]) -> Broken:
    """Require multiples of output and input channels by dtype; a dtype that is not listed needs none."""

    def broken(layer: LayerFacts) -> str | None:
        multiple = multiples.get(layer.dtype)
        if multiple is None or not (layer.outputs % multiple or layer.inputs % multiple):
            return None
        takes = f"{who} in {layer.dtype} takes multiples of {multiple}"
        return f"{takes}, and it has {layer.outputs} outputs by {layer.inputs} inputs"

    return broken


def channels_in(multiple: int, says: str | None = None) -> Rule:
    """Require a multiple of output channels when channels are removed."""

    def broken(layer: LayerFacts) -> str | None:
        breaks = isinstance(layer.pattern, Channel) and layer.outputs % multiple
        return f"it keeps {layer.outputs} channels, no multiple of {multiple}" if breaks else None

    return Rule(says or f"channels in multiples of {multiple}", broken, "HWP106", multiple)


def blocks_of(side: int, says: str) -> Rule:
    """Require blocks that fill a matrix unit of side `side`."""

    def broken(layer: LayerFacts) -> str | None:
        pattern = layer.pattern
        breaks = isinstance(pattern, Block) and (pattern.rows % side or pattern.columns % side)
        return f"blocks of {pattern} do not fill it" if breaks else None

    return Rule(says, broken, "HWP105")


def at_least_rows(rows: int, says: str) -> Rule:
    """Require a height of the input matrix of layers with n:m weights."""

    def broken(layer: LayerFacts) -> str | None:
        breaks = isinstance(layer.pattern, NM) and layer.rows is not None and layer.rows < rows
        return f"fewer than {rows} rows (batch times tokens, here {layer.rows})" if breaks else None

    return Rule(says, broken, "HWP104")


def at_least_inputs(inputs: int, says: str) -> Rule:
    """Require a number of input channels of convolutions with n:m weights."""

    def broken(layer: LayerFacts) -> str | None:
        few = layer.module in CONVOLUTIONS and isinstance(layer.pattern, NM) and layer.inputs < inputs
        return f"it has {layer.inputs} input channels" if few else None

    return Rule(says, broken, "HWP104")


def kernels_up_to(side: int, says: str) -> Rule:
    """Require convolutions whose kernels have at most this side."""

    def broken(layer: LayerFacts) -> str | None:
        large = layer.module in (*CONVOLUTIONS, *TRANSPOSED) and max(layer.kernel, default=0) > side
        return f"its kernel is {'x'.join(map(str, layer.kernel))}" if large else None

    return Rule(says, broken)


def without(modules: tuple[str, ...], says: str) -> Rule:
    """Refuse classes of layers."""
    return Rule(says, lambda layer: f"it is a {layer.module}" if layer.module in modules else None)
