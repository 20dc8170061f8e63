"""Which layers can hold zeros in a pattern, and why the others cannot."""

from collections.abc import Collection

from torch import nn

from ..core.pattern import NM, Block, Unstructured, parse_pattern
from .layers import PRUNABLE, as_matrix, layers_with_weights, own_weight, reason_not_prunable
from .served import Served

ZeroPattern = NM | Block | Unstructured
ASKED = "it was asked to stay dense (--dense)"


def find_fitting(
    model: nn.Module, patterns: dict[str, ZeroPattern], left_dense: Collection[str] = (), served: Served | None = None
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return by name the layers that can hold their pattern in `patterns`, and the reason for every other layer.

    A weight that several layers share is the first one's, and stays whole where a layer that needs it dense reads it:
    one of `left_dense`, or an embedding. With `served`, so does a layer that its toolchain has no sparse kernel for.
    """
    fitting: dict[str, nn.Module] = {}
    reasons: dict[str, str] = {}
    seen = {  # weights that a layer which stays dense reads too
        id(own): f"{name}, which stays dense"
        for name, module in model.named_modules()
        if (own := own_weight(module)) is not None and (name in left_dense or not isinstance(module, PRUNABLE))
    }
    unnamed: list[tuple[str, nn.Parameter]] = []
    for name, module in layers_with_weights(model):
        reason = ASKED if name in left_dense else reason_not_prunable(module)
        if reason is None:
            weight = module.get_parameter("weight")
            if id(weight) in seen:
                reason = f"it shares its weight with {seen[id(weight)]}"
            elif name in patterns:
                seen[id(weight)] = f"{name}, where it is pruned"
                outputs, _, inputs = as_matrix(weight, module).shape
                reason = misfit(outputs, inputs, patterns[name])
                if reason is None and served is not None and served.takes(patterns[name]):
                    reason = served.reason_not_served(module)
            else:
                unnamed.append((name, weight))
                continue
        if reason is None:
            fitting[name] = module
        else:
            reasons[name] = reason
    for name, weight in unnamed:
        home = seen.get(id(weight))
        reasons[name] = f"it shares its weight with {home}" if home else "the plan gives it no part"
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
