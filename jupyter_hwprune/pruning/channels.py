"""Whole channels removed, with all that feeds on them: chosen here, cut by `coupling`, believed after `equivalence`."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..errors import PruneError, first_line
from ..example import Example
from ..pattern import Channel
from .coupling import Candidate, Coupling, Cut
from .equivalence import fault_of
from .masks import keep_top


@dataclass(frozen=True)
class Surgery:
    """The smaller model; for each parameter and buffer that shrank the dense mask `keep`; why layers stayed whole."""

    model: nn.Module
    keep: dict[str, Tensor]
    reasons: dict[str, str] = field(default_factory=dict)


def remove_channels(
    dense: nn.Module, example: Example, pattern: Channel, sparsity: float, *, ranked_together: bool
) -> Surgery:
    """Return a smaller copy of `dense`, proven equal to `dense` under the mask of the removed channels.

    A set of channels whose removal cannot be proven is left whole, with the reason. Raises PruneError when the graph
    cannot be read, or when nothing can be removed.
    """
    subject = Coupling(dense, example)
    candidates, reasons = subject.candidates(pattern)
    cuts = _cuts(candidates, sparsity, ranked_together=ranked_together)
    for candidate in candidates:
        if candidate.root not in {cut.root for cut in cuts}:
            whole = f"{pattern} at {sparsity:.0%} leaves its {candidate.units.numel()} channels whole"
            reasons |= dict.fromkeys(candidate.members, whole)
    if not cuts:
        raise PruneError(_nothing(pattern, reasons))

    outcome = _attempt(subject, cuts)
    if isinstance(outcome, str):
        cuts, faults = _provable(dense, example, cuts)
        members = {candidate.root: candidate.members for candidate in candidates}
        for root, why in faults.items():
            reasons |= dict.fromkeys(members[root], why)
        if not cuts:
            raise PruneError(_nothing(pattern, reasons))
        outcome = _attempt(Coupling(dense, example), cuts)
        if isinstance(outcome, str):
            raise PruneError(
                f"Channels removed from {', '.join(cut.root for cut in cuts)} together change what the model computes: "
                f"{outcome}. Use a pattern that keeps the shapes, such as --pattern unstructured."
            )
    model, keep = outcome
    return Surgery(model, keep, reasons)


def _nothing(pattern: Channel, reasons: dict[str, str]) -> str:
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:4])
    return (
        f"No channel of this model can be removed with the pattern {pattern}. {shown or 'It has no layer to prune'}. "
        "Try a smaller multiple (--pattern channel), or a pattern that keeps the shapes (--pattern unstructured)."
    )


def _attempt(subject: Coupling, cuts: list[Cut]) -> tuple[nn.Module, dict[str, Tensor]] | str:
    """Make the cuts; return the smaller model and the mask, or why they cannot be trusted."""
    try:
        model, keep = subject.operate(cuts)
    except Exception as error:  # noqa: BLE001 - the library stumbles in many ways, and each means the same
        return f"torch-pruning cannot make the cut ({first_line(error)})"
    return fault_of(subject.dense, subject.example, model, keep) or (model, keep)


def _provable(dense: nn.Module, example: Example, cuts: list[Cut]) -> tuple[list[Cut], dict[str, str]]:
    """Try each cut alone: return those that keep the function, and what is wrong with the others."""
    good, faults = [], {}
    for cut in cuts:
        outcome = _attempt(Coupling(dense, example), [cut])
        if isinstance(outcome, str):
            faults[cut.root] = f"removing its channels cannot be proven right: {outcome}"
        else:
            good.append(cut)
    return good, faults


def _cuts(candidates: list[Candidate], sparsity: float, *, ranked_together: bool) -> list[Cut]:
    if ranked_together and candidates:
        relative = [c.scores / c.scores.mean().clamp_min(1e-30) for c in candidates]  # layers differ in scale
        units = torch.cat(relative)
        keep = keep_top(units, round((1 - sparsity) * len(units)))
        kept = [float(own.sum()) for own in torch.split(keep, [len(scores) for scores in relative])]
    else:
        kept = [(1 - sparsity) * len(candidate.scores) for candidate in candidates]
    cuts = []
    for candidate, wanted in zip(candidates, kept, strict=True):
        count = max(candidate.step, round(wanted / candidate.step) * candidate.step)
        if count >= len(candidate.scores):
            continue
        order = candidate.scores.argsort(descending=True, stable=True)
        removed = candidate.units[order[count:]].flatten().sort().values
        heads = tuple(
            (name, attribute, value)
            for name in candidate.attention
            for attribute, value in (("heads", count), ("width", count * candidate.units.shape[1]))
        )
        cuts.append(Cut(candidate.root, tuple(removed.tolist()), heads))
    return cuts
