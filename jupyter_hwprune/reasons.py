"""Why the verdict is what it is, in plain sentences that each rest on a number of the report."""

from __future__ import annotations

from .choice import Choice
from .pattern import NM, Block, Channel, Unstructured
from .proof import Proof
from .report import Layer, Totals


def explain(choice: Choice, proof: Proof, totals: Totals) -> tuple[str, ...]:
    return (
        *_kernels(choice, proof),
        *_arithmetic(choice, proof, totals),
        *_rules(choice, proof),
        *_machine(choice, proof),
        *choice.remarks,
    )


def _kernels(choice: Choice, proof: Proof) -> list[str]:
    """Say whether the kernels that ran profit from the zeros."""
    seen = [layer for layer in proof.layers if layer.used is not None]
    if isinstance(choice.pattern, Channel) or not seen:
        return []
    dense = [layer for layer in seen if not layer.used]
    toolchain = choice.stack.toolchain
    of_all = (
        f"all {len(seen)}"
        if len(seen) == len(proof.layers)
        else f"the {len(seen)} of {len(proof.layers)} that it showed"
    )
    if len(dense) == len(seen):
        said = f"{toolchain} ran dense kernels for {of_all} pruned layers"
        return [f"{said}: they multiply every zero, so {choice.pattern} cannot buy time with it."]
    return [f"{toolchain} ran a sparse kernel for {len(seen) - len(dense)} of {len(proof.layers)} pruned layers."]


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


def _rules(choice: Choice, proof: Proof) -> list[str]:
    """Hold the pattern against the target's own rules."""
    target, pattern, usual = choice.target, choice.pattern, choice.stack.pattern
    if isinstance(pattern, Unstructured) and usual != "unstructured":
        return [f"On {target.chip}, {choice.stack.toolchain} skips no single weights; use --pattern {usual}."]
    if isinstance(pattern, (NM, Block)) and usual.startswith("channel"):
        return [f"{target.chip} has no use for {pattern}; whole channels pay there: --pattern {usual}."]
    if isinstance(pattern, Channel) and usual.startswith("channel/"):
        multiple = int(usual.removeprefix("channel/"))
        odd = [layer for layer in proof.layers if layer.pruned_shape[0] % multiple and layer.shape[0] % multiple == 0]
        if odd:
            return [f"{len(odd)} layers keep channels in no multiple of {multiple}, {_named(odd)}; try {usual}."]
    if isinstance(pattern, Block) and target.finding is not None:
        return [target.finding]
    return []


def _machine(choice: Choice, proof: Proof) -> list[str]:
    """Say when the CPU that was measured is another maker's than the target's."""
    maker, machine = choice.target.maker, proof.machine
    if maker is None or machine is None or maker in machine.cpu:
        return []
    return [f"Measured on {machine.cpu}, which is no {maker} CPU: it runs the same instructions on another chip."]


def _named(layers: list[Layer]) -> str:
    shown = ", ".join(layer.name for layer in layers[:3])
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more"
