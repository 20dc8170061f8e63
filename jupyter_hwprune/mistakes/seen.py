"""What a rule sees: a report, the row of its target, and the row's judge. What is unknown there is None."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..core.errors import InputError
from ..core.pattern import NM, Block, Depth, Pattern, Unstructured, parse_pattern
from ..core.rules import LayerFacts
from ..core.target import TARGETS, Judge, Target
from ..report import Layer, Report, Returned, Skipped
from ..report.words import line


@dataclass(frozen=True)
class Found:
    """One finding of a rule; None for `why` takes the rule's own."""

    what: str
    fix: str
    layers: tuple[str, ...] = ()
    why: str | None = None
    line: str | None = None


@dataclass(frozen=True)
class Seen:
    report: Report
    row: Target | None

    @classmethod
    def of(cls, report: Report, row: Target | None) -> Seen:
        """Take the row of this package by its name where none is given: no module that a file names is imported."""
        return cls(report, row or next((each for each in TARGETS if each.name == report.request.target), None))

    @cached_property
    def pattern(self) -> Pattern | None:
        with contextlib.suppress(InputError):
            return parse_pattern(self.report.request.pattern)
        return None

    @cached_property
    def judge(self) -> Judge | None:
        """The row's judge of the report's toolchain; a toolchain of the user's own has the offers of the first."""
        if self.row is None:
            return None
        own = self.report.request.toolchain
        named = next((each for each in self.row.judges if each.toolchain == own), None)
        return named or (replace(self.row.judges[0], toolchain=own) if "." in own else None)

    @cached_property
    def offered(self) -> tuple[Pattern, ...]:
        return () if self.judge is None else tuple(offer.pattern for offer in self.judge.offers)

    @property
    def makes_zeros(self) -> bool:
        """Whether the pattern leaves zeros in place, and does not make layers smaller."""
        return isinstance(self.pattern, (Unstructured, NM, Block))

    @property
    def has_kernels(self) -> bool:
        """Whether the judge is known to have sparse kernels for the pattern."""
        pattern, kernels = self.pattern, None if self.judge is None else self.judge.kernels
        if isinstance(pattern, Block):
            return any(isinstance(each, Block) for each in self.offered)
        return pattern in self.offered or (kernels is not None and pattern is not None and kernels.take(pattern))

    def facts(self, layer: Layer | Returned | Skipped) -> LayerFacts:
        """Return a layer's facts as it is after pruning; rows are those of its product, counted by its MACs."""
        shape = layer.pruned_shape if isinstance(layer, Layer) else layer.shape
        rows = None if isinstance(layer, Skipped) else layer.rows
        if rows is None and isinstance(layer, Layer) and layer.macs:
            rows = layer.macs // max(1, math.prod(layer.shape))
        return replace(LayerFacts.of_weight(layer.kind, shape), rows=rows, pattern=self.pattern)

    def line(self, **changed: Any) -> str | None:
        """Return the report's line with these options; None where a recipe or files, and no line, made the model."""
        request = self.report.request
        if request.recipe is not None or request.importance == "as it came" or self.report.blockwise is not None:
            return None
        return line(self.report, **changed)

    def line_of(self, pattern: Pattern, **changed: Any) -> str | None:
        """Return the line with another pattern at its usual share, ranked in the default way, which suits any."""
        method = {"sparsity": None, "importance": None, "allocation": None, "permute": False}
        return self.line(**method | {"pattern": pattern} | changed)

    def corrected(self) -> str | None:
        """Return the line that also corrects the weights that stay; None where this run did, trained, or cannot."""
        request = self.report.request
        fits = self.pattern is not None and not isinstance(self.pattern, Depth)
        if not fits or request.importance == "second-order" or request.allocation == "global" or request.trained:
            return None
        return self.line(importance="second-order")

    def told(self) -> Iterator[Layer]:
        """Yield the layers whose kernels are known to be sparse or dense."""
        yield from (layer for layer in self.report.layers if layer.used is not None)


def is_depthwise(layer: Layer) -> bool:
    return len(layer.shape) > 2 and layer.shape[1] == 1 and layer.groups is not None
