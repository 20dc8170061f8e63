"""Why the verdict is what it is, in plain sentences that each rest on a number of the report."""

from __future__ import annotations

from .choice import Choice
from .pattern import NM, Block, Channel, Unstructured
from .proof import Proof
from .report import Layer, Totals


def explain(choice: Choice, proof: Proof, totals: Totals) -> tuple[str, ...]:
    return (*_kernels(choice, proof), *_arithmetic(choice, proof, totals), *_rules(choice), *choice.remarks)


def _kernels(choice: Choice, proof: Proof) -> list[str]:
    """Say whether the kernels that ran profit from the zeros."""
    seen = [layer for layer in proof.layers if layer.used is not None]
    if isinstance(choice.pattern, Channel) or not seen:
        return []
    dense = [layer for layer in seen if not layer.used]
    toolchain = choice.stack.toolchain
    if len(dense) == len(seen):
        said = f"{toolchain} ran dense kernels for all {len(seen)} pruned layers"
        return [f"{said}: they multiply every zero, so {choice.pattern} cannot buy time with it."]
    return [f"{toolchain} ran a sparse kernel for {len(seen) - len(dense)} of {len(seen)} pruned layers."]


def _arithmetic(choice: Choice, proof: Proof, totals: Totals) -> list[str]:
    """Set the measured gain beside the arithmetic that is gone, where that arithmetic really is gone."""
    comparison = proof.measurement.comparison
    if not isinstance(choice.pattern, Channel) or comparison.speedup is None or not totals.pruned_macs:
        return []
    said = [
        f"{totals.macs / totals.pruned_macs:.1f}x fewer multiply-accumulates gave {comparison.speedup:.2f}x in time."
    ]
    slower = [layer for layer in proof.layers if layer.speed.verdict == "slower"]
    if slower:
        said.append(f"{len(slower)} layers came out slower, {_named(slower)}.")
    return said


def _rules(choice: Choice) -> list[str]:
    """Hold the pattern against the target's own rules."""
    target, pattern = choice.target, choice.pattern
    if isinstance(pattern, Unstructured) and choice.stack.pattern != "unstructured":
        return [f"The common mistake on {target.chip} is unstructured sparsity; use --pattern {choice.stack.pattern}."]
    if isinstance(pattern, (NM, Block)) and choice.stack.pattern.startswith("channel"):
        return [f"{target.chip} has no use for {pattern}; whole channels pay there: --pattern {choice.stack.pattern}."]
    if isinstance(pattern, Channel) and pattern.multiple == 1 and choice.stack.pattern.startswith("channel/"):
        return [f"Channels that are no multiple of 8 or 16 cost the kernels their layout; try {choice.stack.pattern}."]
    return [] if target.finding is None else [target.finding]


def _named(layers: list[Layer]) -> str:
    shown = ", ".join(layer.name for layer in layers[:3])
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more"
