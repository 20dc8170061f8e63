"""Multiply-accumulates of each prunable layer, counted while the example runs through the model."""

from collections import defaultdict
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..core.example import Example
from .layers import PRUNABLE, TRANSPOSED
from .trace import hooks, input_of


def count_macs(model: nn.Module, example: Example) -> dict[str, int]:
    """Return the dense MACs of every prunable layer that the example reaches, summed over its calls."""
    macs: dict[str, int] = defaultdict(int)

    def count(name: str, layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(layer, nn.MultiheadAttention):  # calls its projections without calling its layers
            given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
            macs[name] += sum(given[each].numel() for each in ("query", "key", "value")) * layer.embed_dim
            macs[f"{name}.out_proj"] += output[0].numel() * layer.embed_dim
        else:  # weight[0] makes one output value, or in a transposed layer spreads one input value
            weight: Tensor = layer.weight  # type: ignore[assignment]
            values = input_of(args, kwargs) if isinstance(layer, TRANSPOSED) else output
            macs[name] += values.numel() * weight[0].numel()

    with hooks() as handles:
        for name, module in model.named_modules():
            if isinstance(module, (nn.MultiheadAttention, *PRUNABLE)):
                handles.append(module.register_forward_hook(partial(count, name), with_kwargs=True))
        example.outputs(model)
    return dict(macs)
