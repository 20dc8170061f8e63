"""Remove whole channels and the weights that read them: choose here, cut with `graph`, check with `equivalence`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from ..core.copying import copied, in_float32
from ..core.errors import InputError, NothingFitsError, PruneError, counted, first_of
from ..core.example import Example
from ..core.pattern import Channel
from .allocation import leave_dense
from .attention import give_back_whole, replaced_in, with_own_attention
from .equivalence import TOLERANCE, Fault, Reference, longer_where_short, relative_difference
from .graph import ChannelSet, Coupled, analyse
from .graph.attributes import find_attributes, variants
from .graph.cut import slice_model
from .graph.ties import sizes_given
from .layers import layers_with_weights
from .method import Method, Tell
from .plan import Plan
from .reading import read_weights
from .reconstruction import Reconstruction
from .taylor import taylor

BY_DEFAULT = "Channels are ranked by second order, the default with --calib; --importance magnitude ranks by size."
FELL_BACK = "Channels are ranked by magnitude, since second order, the default with --calib, cannot here:"
Score = Callable[[Coupled], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Channels:
    """The sets of channels that a model can lose, with a score for each unit.

    Read once for a model, because it takes an export. `ready` computes what `dense` does, with attention whose heads
    can go; `plain` is that in float32, and `example` its input, long enough to show a wrong cut. `scores` are [U] by
    the names of sets. `reconstruction` makes up for what goes, by second order. Where that is the default,
    `remarks` say so, or that they `fell_back` to magnitude, and why.
    """

    dense: nn.Module
    ready: nn.Module
    plain: nn.Module
    example: Example
    coupled: Coupled
    scores: Mapping[str, Tensor]
    reconstruction: Reconstruction | None = None
    fell_back: bool = False
    remarks: tuple[str, ...] = ()

    @cached_property
    def reference(self) -> Reference:
        """What every cut is held against; its weights are drawn once."""
        return Reference(self.plain, self.coupled, self.example)

    @classmethod
    def of(cls, dense: nn.Module, example: Example, score: Score | None = None, kept: Collection[str] = ()) -> Channels:
        """Read the channels from the model's graph, and score them, by default by magnitude.

        The modules `kept` stay of torch's own class, if they are attention.
        Raises PruneError when the graph cannot be read.
        """
        example.outputs(dense)  # without gradients, before which torch copies no weight that an old hook computes
        example = longer_where_short(dense, example)
        ready = with_own_attention(dense, kept)
        if ready is not dense and not _alike(dense, ready, example):
            ready = dense
        plain = in_float32(ready)
        coupled = analyse(plain, example.as_float32())
        return cls(dense, ready, plain, example, coupled, (score or partial(magnitudes, dense))(coupled))

    @classmethod
    def by(cls, method: Method, dense: nn.Module, example: Example, progress: Tell = lambda _set: None) -> Channels:
        """Read the channels, and score them by the method."""
        kept = leave_dense([name for name, _ in layers_with_weights(dense)], method.dense)
        if method.importance == "magnitude":
            return cls.of(dense, example, kept=kept)
        calibration = method.calibration
        assert calibration is not None

        def score(coupled: Coupled) -> Mapping[str, Tensor]:
            return taylor(dense, coupled, calibration.batches, calibration.labels)

        if method.importance == "taylor":
            return cls.of(dense, example, score, kept)
        found = cls.of(dense, example, kept=kept)
        weights = read_weights(found.ready, example)
        own = Reconstruction(found.ready, found.coupled, weights, calibration)
        try:
            scores = own.scores(progress)
        except (InputError, PruneError) as error:
            if not method.by_default:
                raise
            return replace(found, fell_back=True, remarks=(f"{FELL_BACK} {error}",))
        if not scores and method.by_default:
            why = "no layer that reads channels could be solved on these inputs."
            return replace(found, fell_back=True, remarks=(f"{FELL_BACK} {why}",))
        said = (BY_DEFAULT,) if method.by_default else ()
        return replace(found, scores={**found.scores, **scores}, reconstruction=own, remarks=said)


@dataclass(frozen=True)
class Surgery:
    """The smaller model, the dense masks `keep` of what shrank in it, why layers stayed whole, and what to tell.

    `units` are those that stay, bool [U] by the names of sets.
    """

    model: nn.Module
    pattern: Channel
    keep: dict[str, Tensor]
    units: dict[str, Tensor]
    reasons: dict[str, str]
    remarks: tuple[str, ...] = ()


def remove_channels(channels: Channels, plan: Plan) -> Surgery:
    """Return a smaller copy of the dense model, proven equal to that under the mask of the removed channels.

    A set of channels whose removal cannot be proven is left whole, with the reason. Raises PruneError when the plan
    names anything but sets, or if nothing can be removed.
    """
    pattern = _pattern(channels, plan)
    reasons = channels.coupled.reasons | dict(plan.reasons)
    keep = _choose(channels, plan, reasons)
    if not keep:
        raise nothing_removable(pattern, reasons)
    outcome = _attempt(channels, keep)
    sets = {each.name: each for each in channels.coupled.sets}
    while isinstance(outcome, Fault):  # again where those that are left are each right, and wrong together
        faults = _culprits(channels, keep, outcome)
        keep = {name: kept for name, kept in keep.items() if name not in faults}
        for name, why in faults.items():
            said = f"removing its channels cannot be verified: {why}{_of_written_sizes(channels, sets[name])}"
            reasons |= dict.fromkeys(sets[name].makers, said)
        if not keep:
            raise nothing_removable(pattern, reasons)
        outcome = _attempt(channels, keep)
    model, masks = outcome
    return Surgery(model, pattern, masks, keep, reasons, tuple(_replaced(model)))


def magnitudes(model: nn.Module, coupled: Coupled) -> dict[str, Tensor]:
    """Score each unit by the L2 norm over all weights that would go with it (Li et al. 2016, arXiv:1608.08710)."""
    weights = {name: p.detach() for name, p in model.named_parameters(remove_duplicate=False) if p.is_floating_point()}
    scores = {}
    for each in coupled.sets:  # one set at a time, for the sake of memory
        own = {slot.tensor for slot in each.slots} & weights.keys()
        scores[each.name] = each.sums({name: weights[name].float().square() for name in own}).sqrt()
    return scores


def units_left(channels: ChannelSet, wanted: float, pattern: Channel) -> int:
    """Round `wanted` to the units that can stay: the same count in each group, in steps that suit the pattern."""
    groups = channels.groups  # each keeps at least a step: every layer's channels are a multiple of the pattern's then
    a_unit = {groups * slot.positions.shape[1] for slot in channels.slots}
    step = math.lcm(*(pattern.multiple // math.gcd(pattern.multiple, width) for width in a_unit))
    return min(channels.units, groups * max(step, round(wanted / groups / step) * step))


def nothing_removable(pattern: Channel, reasons: Mapping[str, str]) -> NothingFitsError:
    """Say that no channel can go, and why."""
    shown = "; ".join(f"{name or 'the model itself'}: {reason}" for name, reason in list(reasons.items())[:4])
    return NothingFitsError(
        f"No channel of this model can be removed with the pattern {pattern}. {shown or 'It has no layer to prune'}.",
        "Try a smaller multiple (--pattern channel), or a pattern that keeps the shapes (--pattern unstructured).",
    )


def _attempt(channels: Channels, keep: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]] | Fault:
    """Make the cuts; return the smaller model and the masks, or why they cannot be trusted."""
    small, masks = slice_model(channels.ready, channels.coupled, keep)
    give_back_whole(small, channels.dense, masks)
    found = find_attributes(channels.ready, channels.coupled, keep)
    with closing(variants(small, found)) as ways:
        outcome = channels.reference.first_equal(ways, keep)
    return outcome if isinstance(outcome, Fault) else (outcome, masks)


def _of_written_sizes(channels: Channels, own: ChannelSet) -> str:
    given = sizes_given(channels.coupled, own)
    if not given:
        return ""
    return (
        f"; {' and '.join(given)}, and a number written in the code does not follow a cut, as a size does that is read "
        "from a tensor's shape or kept as an attribute of the module"
    )


def _alike(dense: nn.Module, ready: nn.Module, example: Example) -> bool:
    try:
        outputs = [example.as_float32().outputs(copied(model).float().eval()) for model in (dense, ready)]
        return relative_difference(*outputs) < TOLERANCE
    except Exception:  # noqa: BLE001 - a call that torch's class takes and ours does not
        return False


def _replaced(model: nn.Module) -> Iterator[str]:
    if names := replaced_in(model):
        yield (
            "torch's nn.MultiheadAttention only allows heads that divide the width of its inputs equally, so "
            f"{counted(len(names), 'module')} became jupyter_hwprune.MultiheadAttention in the pruned copy, which "
            f"computes the same with what is left: {first_of(names)}. To keep one as it is, name it with --dense."
        )


def _culprits(channels: Channels, keep: Mapping[str, Tensor], fault: Fault) -> dict[str, str]:
    """Find the sets without which the others can be proven, each with what is wrong with it.

    Those with weights in the module that stopped the run come first; otherwise they are found by halves.
    """
    names = list(keep)
    if len(names) == 1:
        return {names[0]: fault.said}
    half = len(names) // 2
    near = _near(channels, names, fault.module)
    found = _among(channels, keep, near) if len(near) < len(names) else {}
    if len(found) > 1:  # one that cannot be proven by itself may be right beside the others
        found = next(({one: why} for one, why in found.items() if not _wrong_without(channels, keep, one)), found)
    found = found or _among(channels, keep, names[:half]) | _among(channels, keep, names[half:])
    return found or dict.fromkeys(names[half:], fault.said)


def _wrong_without(channels: Channels, keep: Mapping[str, Tensor], one: str) -> bool:
    return isinstance(_attempt(channels, {name: kept for name, kept in keep.items() if name != one}), Fault)


def _among(channels: Channels, keep: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, str]:
    """Return the culprits among some of the sets, by a cut of these alone."""
    part = {name: keep[name] for name in names}
    outcome = _attempt(channels, part) if part else None
    return _culprits(channels, part, outcome) if isinstance(outcome, Fault) else {}


def _near(channels: Channels, names: Collection[str], module: str) -> list[str]:
    """Return those of the named sets that hold weights of a module, none without one."""
    return [
        each.name
        for each in channels.coupled.sets
        if each.name in names and module and any(slot.tensor.startswith(f"{module}.") for slot in each.slots)
    ]


def _pattern(channels: Channels, plan: Plan) -> Channel:
    """Return the plan's one pattern; zeros beside channels, or channels in several multiples, are not made."""
    pattern, *others = plan.patterns
    if others or not isinstance(pattern, Channel):
        raise PruneError(
            f"The plan holds the patterns {', '.join(map(str, plan.patterns))}. Channels are removed by one pattern in "
            "the whole model, and no weights are zeroed in the same run: make two plans, and prune the channels first."
        )
    known = {each.name: each.makers for each in channels.coupled.sets}
    for name in plan.parts.keys() - known.keys():
        home = next((own for own, makers in known.items() if name in makers), None)
        cure = f"They go with those of {home}: name that" if home else f"Those that can go are {', '.join(known)}"
        raise PruneError(f"The plan removes channels of {name!r}, and none can be removed under that name. {cure}.")
    return pattern


def _choose(channels: Channels, plan: Plan, reasons: dict[str, str]) -> dict[str, Tensor]:
    """Return for each set that shrinks which units stay, and add to `reasons` why others do not. -> name: bool [U]."""
    keep = {}
    for each in channels.coupled.sets:
        part, why = plan.parts.get(each.name), "the plan leaves it out"
        if part is not None:
            assert isinstance(part.pattern, Channel)
            left = units_left(each, (1 - part.share) * each.units, part.pattern)
            if left < each.units:
                keep[each.name] = _best(channels.scores[each.name], each, left)
                continue
            whole = f"{part} leaves its {each.units} channels whole"
            why = whole if part.share else "the plan takes none of its channels"
        for maker in each.makers:
            reasons.setdefault(maker, why)
    return keep


def _best(scores: Tensor, channels: ChannelSet, left: int) -> Tensor:
    """Keep the best units, as many of each group. [U] -> bool [U]."""
    group_of = torch.zeros(channels.units, dtype=torch.int64) if channels.group_of is None else channels.group_of
    keep = torch.zeros(channels.units, dtype=torch.bool)
    for group in range(channels.groups):
        members = (group_of == group).nonzero().flatten()
        order = scores[members].argsort(descending=True, stable=True)
        keep[members[order[: left // channels.groups]]] = True
    return keep
