"""Whole channels removed, with all that feeds on them: chosen here, cut by `graph`, believed after `equivalence`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..errors import PruneError
from ..example import Example
from ..pattern import Channel
from .equivalence import Proof, longer_where_short
from .graph import ChannelSet, Coupled, analyse
from .graph.attributes import find_attributes, variants
from .graph.cut import slice_model
from .masks import keep_top

Scores = Callable[[Coupled], Mapping[str, Tensor]]  # set name -> [U], the worth of each unit
Shares = Callable[[Coupled, Mapping[str, Tensor]], Mapping[str, float]]  # the share of its units that each set loses
ASKED = "it was asked to stay dense (--dense)"


@dataclass(frozen=True)
class Surgery:
    """The smaller model; for each parameter and buffer that shrank the dense mask `keep`; why layers stayed whole."""

    model: nn.Module
    keep: dict[str, Tensor]
    reasons: dict[str, str] = field(default_factory=dict)


def remove_channels(
    dense: nn.Module,
    example: Example,
    pattern: Channel,
    sparsity: float,
    *,
    ranked_together: bool,
    scores: Scores | None = None,
    shares: Shares | None = None,
    left_dense: Collection[str] = (),
) -> Surgery:
    """Return a smaller copy of `dense`, proven equal to `dense` under the mask of the removed channels.

    `scores` rates the units of each set, by default by magnitude, and `shares` says what each set loses, by default
    `sparsity`. The modules `left_dense` keep all channels that they make. A set of channels whose removal cannot be
    proven is left whole, with the reason. Raises PruneError when the graph cannot be read, or when nothing can be
    removed.
    """
    example = longer_where_short(dense, example)
    narrow = any(p.is_floating_point() and p.dtype != torch.float32 for p in dense.parameters())
    plain = copy.deepcopy(dense).float() if narrow else dense
    coupled = analyse(plain, example.as_float32())
    asked = {each.name: each.makers for each in coupled.sets if not set(left_dense).isdisjoint(each.makers)}
    reasons = coupled.reasons | {maker: ASKED for makers in asked.values() for maker in makers}
    coupled = replace(coupled, sets=tuple(each for each in coupled.sets if each.name not in asked))
    rated = (scores or (lambda found: magnitudes(dense, found)))(coupled)
    given = shares(coupled, rated) if shares else {each.name: sparsity for each in coupled.sets}
    keep = _choose(coupled, rated, pattern, given, ranked_together=ranked_together)
    for each in coupled.sets:
        if each.name not in keep:
            whole = f"{pattern} at {given[each.name]:.0%} leaves its {each.units} channels whole"
            reasons |= {maker: whole for maker in each.makers if maker not in reasons}
    if not keep:
        raise PruneError(_nothing(pattern, reasons))
    bench = Bench(dense, coupled, Proof(plain, coupled, example))
    outcome = bench.attempt(keep)
    if isinstance(outcome, str):
        faults = bench.culprits(keep, outcome)
        keep = {name: kept for name, kept in keep.items() if name not in faults}
        makers = {each.name: each.makers for each in coupled.sets}
        for name, why in faults.items():
            reasons |= dict.fromkeys(makers[name], f"removing its channels cannot be proven right: {why}")
        if not keep:
            raise PruneError(_nothing(pattern, reasons))
        outcome = bench.attempt(keep)
        if isinstance(outcome, str):
            raise PruneError(
                f"Channels removed from {', '.join(keep)} together change what the model computes: "
                f"{outcome}. Use a pattern that keeps the shapes, such as --pattern unstructured."
            )
    model, masks = outcome
    return Surgery(model, masks, reasons)


def magnitudes(model: nn.Module, coupled: Coupled) -> dict[str, Tensor]:
    """Score each unit by the L2 norm over all weights that would go with it (Li et al. 2016, arXiv:1608.08710)."""
    weights = {name: p.detach() for name, p in model.named_parameters(remove_duplicate=False) if p.is_floating_point()}
    scores = {}
    for each in coupled.sets:  # one set at a time, for the sake of memory
        own = {slot.tensor for slot in each.slots} & weights.keys()
        scores[each.name] = each.sums({name: weights[name].float().square() for name in own}).sqrt()
    return scores


@dataclass(frozen=True)
class Bench:
    """Makes cuts, and has them proven."""

    dense: nn.Module
    coupled: Coupled
    proof: Proof

    def attempt(self, keep: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]] | str:
        """Make the cuts; return the smaller model and the masks, or why they cannot be trusted."""
        small, masks = slice_model(self.dense, self.coupled, keep)
        proof, fault = self.proof.under(keep), ""
        for model in variants(small, find_attributes(self.dense, self.coupled, keep)):
            found = proof.fault_of(model)
            if found is None:
                return model, masks
            fault = fault or found
        return fault

    def culprits(self, keep: Mapping[str, Tensor], fault: str) -> dict[str, str]:
        """Find by halves the sets without which the others can be proven, each with what is wrong with it."""
        names = list(keep)
        if len(names) == 1:
            return {names[0]: fault}
        found: dict[str, str] = {}
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            part = {name: keep[name] for name in half}
            outcome = self.attempt(part)
            if isinstance(outcome, str):
                found |= self.culprits(part, outcome)
        return found or dict.fromkeys(names[len(names) // 2 :], fault)


def _choose(
    coupled: Coupled,
    rated: Mapping[str, Tensor],
    pattern: Channel,
    shares: Mapping[str, float],
    *,
    ranked_together: bool,
) -> dict[str, Tensor]:
    """Return for each set that shrinks which units stay. -> name: bool [U]."""
    sets = coupled.sets
    if ranked_together and sets:
        relative = [rated[s.name] / rated[s.name].mean().clamp_min(1e-30) for s in sets]  # layers differ in scale
        units = torch.cat(relative)
        together = keep_top(units, round((1 - next(iter(shares.values()))) * len(units)))
        wanted = [float(own.sum()) for own in torch.split(together, [each.units for each in sets])]
    else:
        wanted = [(1 - shares[each.name]) * each.units for each in sets]
    keep = {}
    for each, share in zip(sets, wanted, strict=True):
        groups = 1 if each.shares is None else int(each.shares.max()) + 1
        step = _step(each, groups, pattern)
        count = max(step, round(share / groups / step) * step)  # of each group
        if count * groups < each.units:
            keep[each.name] = _best(rated[each.name], each, groups, count)
    return keep


def _best(scores: Tensor, channels: ChannelSet, groups: int, count: int) -> Tensor:
    """Keep the `count` best units of each group. [U] -> bool [U]."""
    shares = torch.zeros(channels.units, dtype=torch.int64) if channels.shares is None else channels.shares
    keep = torch.zeros(channels.units, dtype=torch.bool)
    for group in range(groups):
        members = (shares == group).nonzero().flatten()
        order = scores[members].argsort(descending=True, stable=True)
        keep[members[order[:count]]] = True
    return keep


def _step(channels: ChannelSet, groups: int, pattern: Channel) -> int:
    """Return how many units a group keeps at least, so that every layer keeps a multiple of the pattern's channels."""
    a_unit = {groups * slot.positions.shape[1] for slot in channels.slots}
    return math.lcm(*(pattern.multiple // math.gcd(pattern.multiple, width) for width in a_unit))


def _nothing(pattern: Channel, reasons: Mapping[str, str]) -> str:
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:4])
    return (
        f"No channel of this model can be removed with the pattern {pattern}. {shown or 'It has no layer to prune'}. "
        "Try a smaller multiple (--pattern channel), or a pattern that keeps the shapes (--pattern unstructured)."
    )
