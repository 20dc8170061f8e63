"""Describe each block that is gone as one row of the report, and say why other blocks and layers stay."""

from collections.abc import Mapping

from torch import nn

from ...report import Layer, Skipped
from ..layers import layers_with_weights
from . import Shortened


def describe_blocks(
    dense: nn.Module, shortened: Shortened, macs: Mapping[str, int]
) -> tuple[list[Layer], list[Skipped]]:
    """Describe the blocks; a row's shape is the count of the block's weights, its MACs those of the layers in it."""
    gone = {each.name for each in shortened.removed}
    layers, skipped = [], []
    for name in [name for name, _ in dense.named_modules() if name in gone or name in shortened.reasons]:
        block = dense.get_submodule(name)
        kind, weights = type(block).__name__, sum(parameter.numel() for parameter in block.parameters())
        if name not in gone:
            skipped.append(Skipped(name, kind, (weights,), shortened.reasons[name]))
            continue
        known = [count for layer, count in macs.items() if f"{layer}.".startswith(f"{name}.")]
        layers.append(
            Layer(
                name,
                kind,
                (weights,),
                pruned_shape=(0,),
                pattern="depth",
                sparsity=1.0,
                macs=sum(known) if known else None,
                pruned_macs=0 if known else None,
                valid=True,
                valid_groups=1.0,
                picture=None,
            )
        )
    told = gone | shortened.reasons.keys()
    for name, module in layers_with_weights(dense):
        if not any(f"{name}.".startswith(f"{block}.") for block in told):
            shape = tuple(next(p.shape for p in module.parameters() if p.ndim >= 2))
            skipped.append(Skipped(name, type(module).__name__, shape, "it is in no residual block"))
    return layers, skipped
