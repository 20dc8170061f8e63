"""Cut channels so that a model library's configuration can say the widths, where the plan takes the same share of all.

A configuration has one number for all layers of a kind, and often one that others follow from, such as a head's size
from the hidden size and the count of heads. So the planned share comes first, then the share that heads can hold
exactly, then the same without heads, and last only what no other width depends on.
"""

from collections.abc import Collection, Iterator

from ..core.errors import PruneError
from ..core.example import Example
from .channels import Channels, Surgery, remove_channels, units_left
from .configuration import configure, library_models, refuse_saving
from .plan import Plan, uniform

WHOLE = "its channels stay, so that the model's configuration can say every width"


def remove_alike(channels: Channels, plan: Plan, example: Example) -> tuple[Surgery, tuple[str, ...]]:
    """Remove channels as `remove_channels` does, and have the configuration say so; also return remarks on that.

    Where no configuration can say it, the cut is the plan's, and `save_pretrained` refuses to write the model.
    """
    surgery = remove_channels(channels, plan)
    if not library_models(channels.dense):
        return surgery, ()
    said = configure(channels.dense, surgery.model, example)
    if said is not None:
        return surgery, _says(said)
    for other in _plans_alike(channels, plan):
        try:
            trial = remove_channels(channels, other)
        except PruneError:
            continue
        said = configure(channels.dense, trial.model, example)
        if said is not None:
            shares = sorted({part.share for part in other.parts.values()})
            kept = len(plan.parts) - len(other.parts)
            more = f", and {kept} sets of channels stay whole" if kept else ""
            return trial, (
                f"{shares[0]:.0%} of the channels are gone{more}, which the configuration can say.",
                *_says(said),
            )
    refuse_saving(surgery.model)
    return surgery, (
        "No configuration says these widths, so save_pretrained refuses to write this model; run.save keeps it.",
    )


def _says(said: list[str]) -> tuple[str, ...]:
    return (f"The model's configuration says the new sizes: {', '.join(said)}.",) if said else ()


def _plans_alike(channels: Channels, plan: Plan) -> Iterator[Plan]:
    """Yield other plans that take one share of every set, where the plan itself does."""
    (pattern, *_), shares = plan.patterns, {part.share for part in plan.parts.values()}
    sets = {each.name: each for each in channels.coupled.sets if each.name in plan.parts}
    if len(shares) > 1 or not sets:
        return
    (share,) = shares
    coarsest = min(sets.values(), key=lambda each: each.units)
    left = units_left(coarsest, (1 - share) * coarsest.units, pattern)  # type: ignore[arg-type]
    exact = 1 - left / coarsest.units

    def without(names: Collection[str], taken: float) -> Plan:
        stay = {maker: WHOLE for name in names for maker in sets[name].makers}
        return Plan(uniform([name for name in sets if name not in names], pattern, taken), dict(plan.reasons) | stay)

    if 0 < exact != share:
        yield without((), exact)
    heads = {name for name, each in sets.items() if each.units == coarsest.units}
    stream = max(sets.values(), key=lambda each: len(each.slots)).name
    for names in (heads, heads | {stream}):
        if names < sets.keys():
            yield without(names, share)
