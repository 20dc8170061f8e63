"""Multiply-accumulates of each prunable layer, counted while the example runs through the model."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..core.example import Example
from .layers import PRUNABLE, RECURRENT, TRANSPOSED, Weight, matrices_of
from .reading import read_weights
from .trace import hooks, input_of


def count_macs(model: nn.Module, example: Example, weights: Sequence[Weight] | None = None) -> dict[str, int]:
    """Return the dense MACs of every layer that the example reaches, summed over its calls.

    `weights` are those that `read_weights` describes, if it was called before.
    """
    macs: dict[str, int] = defaultdict(int)

    def count(name: str, layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(layer, nn.MultiheadAttention):  # calls its projections without calling its layers
            given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
            for each in ("query", "key", "value"):
                own = "in_proj_weight" if layer.in_proj_weight is not None else f"{each[0]}_proj_weight"
                macs[f"{name}.{own}".lstrip(".")] += given[each].numel() * layer.embed_dim
            macs[f"{name}.out_proj".lstrip(".")] += output[0].numel() * layer.embed_dim
        elif isinstance(layer, RECURRENT):
            x = input_of(args, kwargs)
            steps = (x.data if isinstance(x, PackedSequence) else x)[..., 0].numel()
            for own, matrix in matrices_of(layer).items():
                macs[f"{name}.{own}".lstrip(".")] += steps * matrix.numel()
        else:  # weight[0] makes one output value, or in a transposed layer spreads one input value
            weight: Tensor = layer.weight  # type: ignore[assignment]
            values = input_of(args, kwargs) if isinstance(layer, TRANSPOSED) else output
            macs[name] += values.numel() * (weight.numel() // max(1, len(weight)))

    with hooks() as handles:
        for name, module in model.named_modules():
            if isinstance(module, (nn.MultiheadAttention, *RECURRENT, *PRUNABLE)):
                handles.append(module.register_forward_hook(partial(count, name), with_kwargs=True))
        example.outputs(model)
    recorded = read_weights(model, example) if weights is None else weights
    return dict(macs) | {each.name: each.macs for each in recorded if each.macs is not None}
