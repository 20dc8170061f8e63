"""From a model and an example to its sets of channels, with the reasons for what stays whole."""

import math
from collections.abc import Collection

from torch import nn

from ...core.example import Example
from ..layers import layers_with_weights
from .analysis import Analysis, analyse_graph, pinned_roots
from .sets import Coupled, find_sets, module_of
from .trace import GraphTrace, tensors_of_model, trace


def analyse(model: nn.Module, example: Example) -> Coupled:
    """Find the sets of channels that can be removed from `model`, which stays as it is.

    Where a view spreads one axis over two, as heads by their width, one of them has to shrink: heads go whole, and of
    groups the same places. The other choice is taken where it frees more. Raises PruneError when the graph cannot be
    read.
    """
    recorded = trace(model, example)
    best = _coupled(model, recorded, ())
    views = _worth_flipping(best)
    flipped: set[str] = set()
    for group in ([views] if len(views) > 1 else []) + [[view] for view in views]:
        tried = _coupled(model, recorded, flipped ^ set(group))
        if _freed(tried) > _freed(best):
            best, flipped = tried, flipped ^ set(group)
    return best


def _coupled(model: nn.Module, recorded: GraphTrace, flipped: Collection[str]) -> Coupled:
    analysis = analyse_graph(model, recorded, flipped)
    tensors = tensors_of_model(model)
    sets = find_sets(analysis, {name: isinstance(tensor, nn.Parameter) for name, tensor in tensors.items()})
    makers = {name for each in sets for name in each.makers}
    return Coupled(sets, _reasons(model, analysis, makers), analysis)


def _worth_flipping(coupled: Coupled) -> list[str]:
    """Return the views whose open choice ended in channels that all stay."""
    labels = coupled.analysis.labels
    pinned = pinned_roots(labels)
    found = []
    for factor in labels.spread:
        roots = set(labels.roots(factor.labels).ravel().tolist())
        if factor.view in labels.decided and (roots <= pinned.keys() or len(roots) == 1):
            found.append(factor.view)
    return list(dict.fromkeys(found))[:16]


def _freed(coupled: Coupled) -> int:
    """Count the weights that could go."""
    slots = [(slot, coupled.analysis.tensors[slot.tensor].shape) for each in coupled.sets for slot in each.slots]
    return sum(math.prod(shape) * s.positions.numel() // shape[s.dim] for s, shape in slots if s.parameter)


def _reasons(model: nn.Module, analysis: Analysis, makers: Collection[str]) -> dict[str, str]:
    """Say of each module with weights whose output channels are in no set why they stay."""
    pinned = pinned_roots(analysis.labels)
    reasons = {}
    for name, module in layers_with_weights(model):
        if name in makers:
            continue
        outputs = 1 if "transpose" in type(module).__name__.lower() else 0
        tensors = [f"{name}.{own}".lstrip(".") for own, _ in module.named_parameters()]
        factors = [f for own in tensors if module_of(own) == name for f in analysis.tensors[own].factors]
        factors.sort(key=lambda factor: factor.axes[0] != outputs)  # of a bare parameter, it may be another axis
        labels = [factor.labels.ravel() for factor in factors]
        found = [pinned[r] for each in labels for r in analysis.labels.roots(each[:1]).tolist() if r in pinned]
        reasons[name] = found[0] if found else "its channels cannot be removed one by one"
    return reasons
