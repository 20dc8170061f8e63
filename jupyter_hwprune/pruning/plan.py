"""A plan of the weights to remove: for each layer its pattern and its share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..core.errors import InputError
from ..core.pattern import NM, Depth, Pattern
from ..report import Sensitivity


@dataclass(frozen=True)
class Part:
    """The loss of one layer: `share` of its weights, of its blocks or of its channels; n:m fixes its own share."""

    pattern: Pattern
    share: float

    def __post_init__(self) -> None:
        if isinstance(self.pattern, NM) and abs(self.share - self.pattern.sparsity) > 1e-9:
            raise InputError(
                f"A plan takes {self.share:.0%} of a layer by {self.pattern}, which always removes "
                f"{self.pattern.sparsity:.0%}. Give that share, or another pattern."
            )
        if isinstance(self.pattern, Depth):
            raise InputError(
                "A plan removes weights or channels of layers; to remove blocks, use hwprune(..., pattern='depth')."
            )
        if not 0 <= self.share < 1:
            raise InputError(f"A plan takes the share {self.share} of a layer; give a number from 0 to below 1.")

    def __str__(self) -> str:
        return f"{self.pattern} at {self.share:.0%}"


@dataclass(frozen=True)
class Plan:
    """The parts by the names of layers; a layer without a part stays dense. Raises InputError if there is no part.

    Channels that several layers make go together: their part stands under one name, that of their set (`Channels`).
    """

    parts: Mapping[str, Part]
    reasons: Mapping[str, str] = field(default_factory=dict)  # why other layers have no part
    sensitivity: Sensitivity | None = None  # the scan that the shares rest on, if there was one

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("The plan names no layer, so nothing would be pruned. Give at least one layer a part.")

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns of all parts, each once."""
        return tuple(dict.fromkeys(part.pattern for part in self.parts.values()))


def uniform(layers: Iterable[str], pattern: Pattern, share: float) -> dict[str, Part]:
    """Give every layer the same part; n:m fixes its share."""
    return dict.fromkeys(layers, Part(pattern, pattern.sparsity if isinstance(pattern, NM) else share))
