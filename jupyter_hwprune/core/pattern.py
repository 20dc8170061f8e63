"""Sparsity patterns and their one string notation, which round-trips: `str(parse(text)) == text`.

| notation       | meaning                                                                     |
|----------------|-----------------------------------------------------------------------------|
| `2:4`, `n:m`   | n weights **kept** of every m along the input channels (NVIDIA's sense)       |
| `16x16`, `AxB` | blocks of A output by B input channels, kept or removed whole                 |
| `16x16/even`   | the same, so that all A output channels keep as many blocks as any others     |
| `unstructured` | single weights                                                              |
| `channel`      | whole output channels (filters, neurons), and the weights that read them      |
| `channel/8`    | the same, so that the channels left are a multiple of 8                       |
| `depth`        | whole residual blocks: decoder layers, encoder layers, bottlenecks            |
| `depth+channel/8` | the same, and then the same share of the channels that are left            |
"""

import re
from dataclasses import dataclass

from .errors import InputError
from .nearest import did_you_mean

LARGEST_GROUP = 1024
USUAL = ("2:4", "16x16", "128x128", "channel", "channel/8", "depth", "depth+channel/8", "unstructured")
NOTATIONS = "2:4 (any n:m), 16x16 (any AxB), 16x16/even, channel, channel/8, depth, depth+channel/8, unstructured"


@dataclass(frozen=True)
class NM:
    """`n` weights kept of every `m` along the input channels."""

    n: int
    m: int

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def sparsity(self) -> float:
        return 1 - self.n / self.m


@dataclass(frozen=True)
class Block:
    """Blocks of `rows` output channels by `columns` input channels; `even` keeps as many in each row of blocks."""

    rows: int
    columns: int
    even: bool = False

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}" + "/even" * self.even


@dataclass(frozen=True)
class Unstructured:
    def __str__(self) -> str:
        return "unstructured"


@dataclass(frozen=True)
class Channel:
    """Whole channels; the number left is a multiple of `multiple`."""

    multiple: int = 1

    def __str__(self) -> str:
        return "channel" if self.multiple == 1 else f"channel/{self.multiple}"


@dataclass(frozen=True)
class Depth:
    """Whole residual blocks, with the layers in them, and `then` the same share of the channels that are left."""

    then: Channel | None = None

    def __str__(self) -> str:
        return "depth" if self.then is None else f"depth+{self.then}"


Pattern = NM | Block | Unstructured | Channel | Depth


def parse_pattern(text: str) -> Pattern:
    """Parse the notation of the table above; raises InputError with the notations that exist."""
    if text == "unstructured":
        return Unstructured()
    if text == "depth":
        return Depth()
    if match := re.fullmatch(r"(depth\+)?channel(?:/([1-9]\d*))?", text):
        channels = Channel(int(match[2] or 1))
        return Depth(channels) if match[1] else channels
    if match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)(/even)?", text):
        return Block(int(match[1]), int(match[2]), match[3] is not None)
    if match := re.fullmatch(r"([1-9]\d*):([1-9]\d*)", text):
        n, m = int(match[1]), int(match[2])
        if m > LARGEST_GROUP:
            raise InputError(f"The pattern {text!r} has groups of {m}; at most {LARGEST_GROUP} weights make a group.")
        if n < m:
            return NM(n, m)
        raise InputError(f"The pattern {text!r} removes nothing: n:m keeps n of every m, so n must be below m.")
    raise InputError(f"There is no pattern {text!r}.{did_you_mean(text, USUAL)} The notations are: {NOTATIONS}.")
