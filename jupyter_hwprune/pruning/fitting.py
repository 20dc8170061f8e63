"""Which layers can hold zeros in a pattern, and why the others cannot."""

from collections.abc import Collection, Sequence

from torch import nn

from ..core.pattern import NM, Block, Unstructured, parse_pattern
from .layers import Weight, own_weight
from .served import Served

ZeroPattern = NM | Block | Unstructured
ASKED = "--dense leaves it unpruned"


def find_fitting(
    model: nn.Module,
    weights: Sequence[Weight],
    patterns: dict[str, ZeroPattern],
    left_dense: Collection[str] = (),
    served: Served | None = None,
) -> tuple[dict[str, Weight], dict[str, str]]:
    """Return by name the layers that can hold their pattern in `patterns`, and the reason for every other layer.

    A weight that several layers share is the first one's, and stays whole where a layer that needs it dense reads it:
    one of `left_dense`, or an embedding. With `served`, so does a layer that its toolchain has no sparse kernel for.
    """
    fitting: dict[str, Weight] = {}
    reasons: dict[str, str] = {}
    able = {each.name for each in weights if each.reason is None}
    seen = {  # weights that a layer which stays dense reads too
        id(own): f"{name}, which stays dense"
        for name, module in model.named_modules()
        if (own := own_weight(module)) is not None and (name in left_dense or name not in able)
    }
    unnamed: list[tuple[str, nn.Parameter]] = []
    for each in weights:
        name, reason = each.name, ASKED if each.name in left_dense else each.reason
        if reason is None:
            weight = each.of(model)
            if id(weight) in seen:
                reason = f"it shares its weight with {seen[id(weight)]}"
            elif name in patterns:
                seen[id(weight)] = f"{name}, where it is pruned"
                reason = misfit(*each.channels, patterns[name])
                if reason is None and served is not None and served.takes(patterns[name]):
                    reason = served.reason_not_served(each)
            else:
                unnamed.append((name, weight))
                continue
        if reason is None:
            fitting[name] = each
        else:
            reasons[name] = reason
    for name, weight in unnamed:
        home = seen.get(id(weight))
        reasons[name] = f"it shares its weight with {home}" if home else "the plan leaves it out"
    return fitting, reasons


def misfit(outputs: int, inputs: int, pattern: ZeroPattern) -> str | None:
    """Say why a weight of so many output by input channels cannot hold the pattern; None where it can."""
    if isinstance(pattern, NM) and inputs % pattern.m:
        return f"{pattern} needs input channels in multiples of {pattern.m}, and it has {inputs} a group"
    if isinstance(pattern, Block) and (outputs % pattern.rows or inputs % pattern.columns):
        return f"blocks of {pattern} do not divide its {outputs} output by {inputs} input channels"
    return None


def zero_pattern(text: str) -> ZeroPattern:
    """Parse the notation of a pattern that zeroes weights."""
    pattern = parse_pattern(text)
    assert isinstance(pattern, (NM, Block, Unstructured))
    return pattern
