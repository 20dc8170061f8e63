"""Which nodes of an exported program multiply by a torch layer's weight."""

from __future__ import annotations

from typing import Any


def layer_of(node: Any) -> str | None:
    """Return the torch layer whose weight a node reads, from the weight's name in the program."""
    read = node.all_input_nodes if node.op == "call_function" else ()
    names = (str(value.target).rpartition(".") for value in read if value.op == "get_attr")
    return next((module for module, _, own in names if own == "weight"), None)


def product_of(node: Any) -> tuple[Any, bool] | None:
    """Return the input of a product with a layer's weight, and whether it adds the layer's bias; None if it is none.

    The operators but `linear` read the weight as it stands, inputs first (transformers' Conv1D).
    """
    if node.op != "call_function" or node.kwargs:
        return None
    name, args = str(node.target), node.args
    weight, bias = (f"{layer_of(node)}.{own}".lstrip(".") for own in ("weight", "bias"))
    if name == "aten.linear.default":
        return args[0], len(args) > 2
    if name in {"aten.mm.default", "aten.matmul.default"} and str(args[1].target) == weight:
        return args[0], False
    if name == "aten.addmm.default" and [str(args[0].target), str(args[2].target)] == [bias, weight]:
        return args[1], True
    return None
