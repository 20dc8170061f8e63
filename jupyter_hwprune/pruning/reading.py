"""Read from a model what each of its weights computes: by class, and else by what one run of the example does with it.

Torch's own layers are known by their class. Any other module or parameter, such as transformers' Conv1D or the stacked
weights of experts, is known by the products and convolutions that it stands in; without an example it stays dense.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from ..core.example import Example
from .layers import Weight, known_weights, layers_with_weights, reason_not_prunable, rows_of
from .uses import Use, record_uses


def read_weights(model: nn.Module, example: Example | None = None) -> tuple[Weight, ...]:
    """Describe all weights of two dimensions or more, in the order of definition."""
    found: list[Weight] = []
    unknown: list[Weight] = []
    for name, module in layers_with_weights(model):
        known = known_weights(name, module)
        if not known:
            kind, reason = type(module).__name__, reason_not_prunable(module)
            rows = rows_of(name, module).items()
            known = [Weight(row, kind, tuple(model.get_parameter(p).shape), p, reason=reason) for p, row in rows]
            known = known or [Weight(name, kind, (), reason=reason)]
            unknown += [each for each in known if each.parameter is not None]
        found += known
    uses = _uses(model, unknown, example) if unknown and example is not None else None
    if uses is None:
        return tuple(found)
    recorded = {each.name for each in unknown}
    return tuple(_used(each, uses) if each.name in recorded else each for each in found)


def _uses(model: nn.Module, unknown: list[Weight], example: Example) -> dict[str, Use] | None:
    names = {id(each.of(model)): each.parameter for each in reversed(unknown) if each.parameter}
    try:
        uses = record_uses(model, list(names.values()), example)
    except Exception:  # noqa: BLE001 - a model that cannot be recorded is known by its classes, and runs all the same
        return None
    return {each.parameter: uses.get(names[id(each.of(model))], Use()) for each in unknown if each.parameter}


def _used(weight: Weight, uses: Mapping[str, Use]) -> Weight:
    """Add what a run did with the weight to its description."""
    use = uses[weight.parameter or ""]
    if use.others:
        return replace(weight, reason=f"{min(use.others)} takes it, which is neither a product nor a convolution")
    if not use.summed and use.convolution is None:
        return replace(weight, reason="the example input does not reach it")
    if len(use.summed) + (use.convolution is not None) > 1 or use.summed == {()}:
        return replace(weight, reason="its uses do not all sum over the same axis")
    alone = weight.name != weight.parameter
    if use.convolution is not None:
        groups, transposed = use.convolution
        computes = f"Conv{'Transpose' if transposed else ''}{len(weight.shape) - 2}d"
        return replace(weight, computes=computes, groups=groups, of_input=False, macs=use.macs, reason=None)
    [summed] = use.summed
    order = (*(dim for dim in range(len(weight.shape)) if dim not in summed), *summed)
    known = replace(weight, order=order, summed=len(summed), macs=use.macs, reason=None)
    return replace(known, computes="Linear" if alone else None, of_input=use.of_input and alone)
