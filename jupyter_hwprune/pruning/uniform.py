"""Cut channels so that a model library can say the widths, where the plan takes the same share of all.

Some libraries' models hold a configuration, others are built by a function with arguments (`arguments`).

A configuration has one number for all layers of a kind, and often one that others follow from, such as a head's size
from the hidden size and the count of heads. So the planned share comes first, then the share that heads can hold
exactly, then the same without heads, and last only what no other width depends on.
"""

from collections.abc import Collection, Iterator

from torch import nn

from ..core.errors import PruneError
from ..core.example import Example
from .arguments import Builder, arguments_of
from .channels import Channels, Surgery, remove_channels, units_left
from .configuration import configure, library_models, refuse_saving
from .plan import Plan, uniform

WHOLE = "its channels stay, so that the model's configuration can describe every width"


def remove_alike(channels: Channels, plan: Plan, example: Example) -> tuple[Surgery, tuple[str, ...]]:
    """Remove channels as `remove_channels` does, and have the library say so; also return remarks on that.

    Where no configuration can say it, the cut is the plan's, and `save_pretrained` refuses to write the model.
    """
    surgery = remove_channels(channels, plan)
    if (builder := Builder.of(channels.dense)) is not None:
        return _built_alike(builder, channels, plan, example, surgery)
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
            return trial, (_of_share(plan, other, "the configuration"), *_says(said))
    refuse_saving(surgery.model)
    return surgery, (
        "No configuration describes these widths, so save_pretrained refuses to write this model; run.save keeps it.",
    )


def _built_alike(
    builder: Builder, channels: Channels, plan: Plan, example: Example, surgery: Surgery
) -> tuple[Surgery, tuple[str, ...]]:
    """Do the same for a library whose function takes the sizes as arguments."""
    said = built_by(surgery.model, example)
    if builder.counts_heads(type(channels.dense)) and not builder.knows(surgery.model):
        for other in _plans_alike(channels, plan):
            try:
                trial = remove_channels(channels, other)
            except PruneError:
                continue
            told = built_by(trial.model, example)
            if builder.knows(trial.model):
                return trial, (_of_share(plan, other, f"{builder.library}.create_model"), *told)
    return surgery, said


def built_by(pruned: nn.Module, example: Example) -> tuple[str, ...]:
    """Find how a pruned model is built by its library, and say it; nothing of one that no library's function built."""
    builder = Builder.of(pruned)
    if builder is None:
        return ()
    arguments = arguments_of(pruned, example)
    if arguments is not None:
        return (f"{builder.line(arguments)} builds this model, and it loads its state_dict strictly.",)
    said = f"No arguments of {builder.library}.create_model say these shapes, so its weights cannot be read back there"
    return (f"{said}; run.save keeps the model.",)


def _of_share(plan: Plan, other: Plan, teller: str) -> str:
    shares = sorted({part.share for part in other.parts.values()})
    kept = len(plan.parts) - len(other.parts)
    more = f", and {kept} sets of channels stay whole" if kept else ""
    return f"{shares[0]:.0%} of the channels are gone{more}, which {teller} can say."


def _says(said: list[str]) -> tuple[str, ...]:
    return (f"The model's configuration has the new sizes: {', '.join(said)}.",) if said else ()


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
