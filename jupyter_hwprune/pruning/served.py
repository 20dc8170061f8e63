"""Find the layers that toolchains have sparse kernels for, by the rules of the target's row (`SparseKernels`)."""

from __future__ import annotations

from dataclasses import dataclass

from ..choose.choice import Choice
from ..core.pattern import Pattern
from ..core.rules import LayerFacts, SparseKernels
from .layers import Weight


@dataclass(frozen=True)
class Served:
    """The target's toolchains that may run the pattern sparsely, with their kernels; `judge` is the chosen one."""

    judge: str
    kernels: dict[str, SparseKernels]
    dtype: str

    @classmethod
    def of(cls, choice: Choice) -> Served | None:
        """Return the toolchains to check layers against; None if none of the target's runs the pattern sparsely."""
        judge = choice.judge
        known = {each.toolchain: each.kernels for each in choice.target.judges if each.kernels}
        if judge.kernels is None or choice.dtype is None or not judge.kernels.take(choice.pattern):
            return None
        return cls(judge.toolchain, {**known, judge.toolchain: judge.kernels}, choice.dtype)

    def takes(self, pattern: Pattern) -> bool:
        """Say whether the judge's kernels take weights that hold the pattern."""
        return self.kernels[self.judge].take(pattern)

    def reason_not_served(self, layer: Weight) -> str | None:
        """Say why the judge has no sparse kernel for this layer, and which toolchain has; None if it has one."""
        reason = self.kernels[self.judge].why_not(self._facts(layer))
        others = [name for name in self.served_by(layer) if name != self.judge]
        return f"{reason}; {' and '.join(others)} may serve it" if reason and others else reason

    def served_by(self, layer: Weight) -> tuple[str, ...]:
        facts = self._facts(layer)
        return tuple(name for name, kernels in self.kernels.items() if kernels.why_not(facts) is None)

    def _facts(self, layer: Weight) -> LayerFacts:
        outputs, inputs = layer.channels
        kind = layer.kind if layer.order is None or layer.computes is None else layer.computes
        return LayerFacts(kind, outputs, inputs, groups=layer.groups, dtype=self.dtype)
