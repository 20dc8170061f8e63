"""Multiply-accumulates of each prunable layer, counted while the example runs through the model."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import Tensor, nn

from ..core.example import Example
from .layers import PRUNABLE, TRANSPOSED


def count_macs(model: nn.Module, example: Example) -> dict[str, int]:
    """Return the dense MACs of every prunable layer that the example reaches, summed over its calls."""
    macs: dict[str, int] = defaultdict(int)
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):  # calls its projections without calling its layers

            def count_projections(layer: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
                assert isinstance(layer, nn.MultiheadAttention)
                given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
                macs[name] += sum(given[each].numel() for each in ("query", "key", "value")) * layer.embed_dim
                macs[f"{name}.out_proj"] += output[0].numel() * layer.embed_dim

            hooks.append(module.register_forward_hook(count_projections, with_kwargs=True))
        if isinstance(module, PRUNABLE):

            def count(layer: nn.Module, args: Any, kwargs: Any, output: Tensor, name: str = name) -> None:
                weight: Tensor = layer.weight  # type: ignore[assignment]
                # weight[0] makes one output value, or in a transposed layer spreads one input value
                values = (args[0] if args else kwargs["input"]) if isinstance(layer, TRANSPOSED) else output
                macs[name] += values.numel() * weight[0].numel()

            hooks.append(module.register_forward_hook(count, with_kwargs=True))
    try:
        example.outputs(model)
    finally:
        for hook in hooks:
            hook.remove()
    return dict(macs)
