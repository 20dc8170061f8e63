"""Why the verdict is what it is, in plain sentences that each rest on a number of the report."""

from __future__ import annotations

import math

from .choice import Choice
from .errors import counted
from .pattern import NM, Block, Channel, Unstructured
from .proof import Proof
from .pruning import Pruned
from .rating import served
from .report import Scores, Totals, best_baseline, deciding

FEW_ROWS = 64  # of a matrix product, below which sparse Tensor Cores seldom pay
LAUNCH_BOUND = 1.3
CLIFF = 0.9  # of the dense score
MANY_DEPTHWISE = 4  # one layer in so many


def explain(choice: Choice, proof: Proof, pruned: Pruned) -> tuple[str, ...]:
    return (
        *_kernels(choice, proof),
        *_dense_among_sparse(choice, proof),
        *_slower_sparse(choice, proof),
        *_advice(choice, proof),
        *_returned(choice, pruned),
        *_counters(proof),
        *_few_rows(choice, pruned),
        *_launches(proof),
        *_arithmetic(choice, proof, pruned.totals),
        *_rules(choice, proof),
        *_machine(choice, proof),
        *choice.remarks,
    )


def explain_written(choice: Choice, proof: Proof) -> tuple[str, ...]:
    """Say of a model that came pruned what its kernels did; there is no other pattern to advise."""
    return (
        *_kernels(choice, proof),
        *_dense_among_sparse(choice, proof),
        *_machine(choice, proof),
        *choice.remarks,
    )


def cliff(scores: Scores | None, *, trained: bool = False) -> tuple[str, ...]:
    """Name the cliff where a score fell over it."""
    if scores is None or scores.dense <= 0 or scores.pruned >= CLIFF * scores.dense:
        return ()
    said = f"An accuracy cliff: the score fell from {scores.dense:.4g} to {scores.pruned:.4g}"
    if trained:
        return (f"{said}, for all its training after. Train longer, prune in more --steps, or remove less.",)
    said += " with no training after"
    return (f"{said}. Train the pruned copy, its zeros held, or remove less.",)


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
    said = f"{toolchain} ran a sparse kernel for {len(seen) - len(dense)} of {len(proof.layers)} pruned layers"
    untold = len(proof.layers) - len(seen)
    if untold:
        return [f"{said}; of {untold} more its kernels' names and utilisation do not tell."]
    return [f"{said}."]


def _dense_among_sparse(choice: Choice, proof: Proof) -> list[str]:
    """Name the layers whose zeros a dense kernel multiplied where others had a sparse one."""
    if choice.stack.pattern != str(choice.pattern) or not any(layer.used for layer in proof.layers):
        return []
    kernels: dict[str, list[str]] = {}
    for layer in proof.layers:
        if layer.used is False:
            kernels.setdefault(layer.pruned_kernel or "", []).append(layer.name)
    return [f"Dense all the same: {_named(names)}, with {kernel}." for kernel, names in kernels.items()]


def _slower_sparse(choice: Choice, proof: Proof) -> list[str]:
    """Name the layers that lost by their sparse kernel."""
    if isinstance(choice.pattern, Channel):
        return []
    slower = [layer.name for layer in proof.layers if layer.used and layer.speed.verdict == "slower"]
    return [f"Slower by its sparse kernel than by the dense one: {_named(slower)}."] if slower else []


def _advice(choice: Choice, proof: Proof) -> list[str]:
    """Advise against zeros that need a runtime of their own where they do not pay, or are least likely to."""
    if not choice.stack.against or not isinstance(choice.pattern, Unstructured):
        return []
    decided = deciding(proof.measurement, proof.baselines)
    rival = best_baseline(proof.baselines)
    instead = next(stack for stack in choice.target.stacks if stack.toolchain in choice.stack.against)
    toolchain = rival.toolchain if rival is not None else instead.toolchain
    line = f"--target {choice.target.name}:{toolchain} --pattern {instead.pattern}"
    if decided.verdict in {"slower", "no measurable gain"}:
        return [
            f"Not advised for this model at this batch: remove whole channels instead ({line}), or enlarge --batch."
        ]
    depthwise = [layer for layer in proof.layers if len(layer.shape) > 2 and layer.shape[1] == 1]
    if len(depthwise) * MANY_DEPTHWISE < len(proof.layers):
        return []
    said = f"{counted(len(depthwise), 'layer')} of {len(proof.layers)} are depthwise, which {choice.stack.toolchain}"
    return [f"{said} runs dense: such networks gain least by zeros. Compare whole channels: {line}."]


def _returned(choice: Choice, pruned: Pruned) -> list[str]:
    """Say what became of the layers that gained nothing by their zeros."""
    if not pruned.returned:
        return []
    of = len(pruned.returned) + len(pruned.layers)
    names = _named([layer.name for layer in pruned.returned])
    said = f"{counted(len(pruned.returned), 'layer')} of {of} earned nothing by {choice.pattern}"
    return [f"{said}; dense weights again in {names}."]


def _counters(proof: Proof) -> list[str]:
    """Hold the kernels' names against what the hardware counted."""
    both = [layer for layer in proof.layers if layer.used is not None and layer.counters is not None]
    astray = [layer.name for layer in both if layer.used != (layer.counters is not None and layer.counters.sparse > 0)]
    if astray:
        return [f"The hardware counters contradict the kernels' names in {_named(astray)}: trust the counters."]
    return [f"The hardware counters agree with the kernels' names in all {len(both)} layers."] if both else []


def _few_rows(choice: Choice, pruned: Pruned) -> list[str]:
    """Warn of products too small for sparse Tensor Cores, which can be known before anything is measured."""
    names = served(pruned.layers, choice)
    rows = {each.name: each.macs // math.prod(each.shape) for each in pruned.layers if each.name in names and each.macs}
    rows |= {layer.name: layer.rows for layer in pruned.returned if layer.rows}
    few = {name: count for name, count in rows.items() if count < FEW_ROWS}
    if not few:
        return []
    size = f"{FEW_ROWS} rows (batch times tokens, here {min(few.values())})"
    said = f"{counted(len(few), 'layer')} of {len(rows)} multiply fewer than {size}"
    return [f"{said}: sparse Tensor Cores seldom pay there; a larger --batch gives them work."]


def _launches(proof: Proof) -> list[str]:
    """Say what Python costs that starts the kernels one by one: it can hide all that a kernel gains."""
    timed = proof.timed
    launch = timed and timed.pruned_launch
    if not timed or not launch or launch.eager_ms is None or launch.eager_ms < LAUNCH_BOUND * timed.pruned_ms:
        return []
    times = launch.eager_ms / timed.pruned_ms
    said = f"Started kernel by kernel it takes {times:.1f}x as long, and launches hide the kernels"
    return [f"{said}: run it as a CUDA graph, or with torch.compile(mode='reduce-overhead')."]


def _arithmetic(choice: Choice, proof: Proof, totals: Totals) -> list[str]:
    """Set the measured gain beside the arithmetic that is gone, where that arithmetic really is gone."""
    speedup = proof.timed and proof.timed.comparison.speedup
    if not isinstance(choice.pattern, Channel) or speedup is None or not (totals.macs and totals.pruned_macs):
        return []
    said = [f"{totals.macs / totals.pruned_macs:.1f}x fewer multiply-accumulates gave {speedup:.2f}x in time."]
    slower = [layer for layer in proof.layers if layer.speed.verdict == "slower"]
    if slower:
        said.append(f"{counted(len(slower), 'layer')} came out slower, {_named([layer.name for layer in slower])}.")
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
            names = _named([layer.name for layer in odd])
            return [f"{counted(len(odd), 'layer')} keep channels in no multiple of {multiple}, {names}; try {usual}."]
    if isinstance(pattern, Block) and target.finding is not None:
        return [target.finding]
    return []


def _machine(choice: Choice, proof: Proof) -> list[str]:
    """Say when the CPU that was measured is another maker's than the target's."""
    maker, machine = choice.target.maker, proof.machine
    if maker is None or machine is None or maker in machine.cpu:
        return []
    return [f"Measured on {machine.cpu}, which is no {maker} CPU: it runs the same instructions on another chip."]


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
