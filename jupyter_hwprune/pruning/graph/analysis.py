"""The labels of every tensor of a graph: each node's rule in turn, then what the whole graph asks of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Node
from torch.utils import _pytree as pytree

from .labels import Array, Labels, Value, node_name
from .rules import RULES, Site
from .rules.elementwise import pointwise
from .trace import Trace

VIEWS = frozenset(
    ("view", "slice", "select", "narrow", "transpose", "permute", "unsqueeze", "squeeze", "split", "chunk", "unbind")
)


@dataclass(frozen=True)
class Analysis:
    trace: Trace
    labels: Labels
    tensors: dict[str, Value]  # the parameters and buffers, by name
    values: dict[str, Any]  # what each node of the graph makes


def analyse_graph(model: nn.Module, trace: Trace, flipped: Collection[str] = ()) -> Analysis:
    """Label the graph. `flipped` are the views whose open choice, which axis shrinks, falls the other way."""
    labels = Labels(flipped)
    tensors = _label_tensors(model, labels, {trace.names[n.name] for n in _used(trace) if n.name in trace.names})
    weights: set[str] = set()  # nodes that no input has a part in
    values: dict[str, Any] = {}
    for node in trace.graph.graph.nodes:
        if node.op == "placeholder":
            name = trace.names.get(node.name)
            found = node.meta.get("val")
            values[node.name] = tensors[name] if name else Value(tuple(getattr(found, "shape", ())))
            if name:
                weights.add(node.name)
        elif node.op == "call_function":
            values[node.name] = _apply(node, labels, values)
            if node.all_input_nodes and all(n.name in weights for n in node.all_input_nodes):
                weights.add(node.name)
        elif node.op == "output":
            for value in _values(pytree.tree_map_only(Node, lambda n: values[n.name], node.args)):
                labels.pin_value(value, "its channels are the model's output")
        if node.name in weights:
            labels.weights |= {id(value) for value in _values(values[node.name])}
    join_remaining(labels)
    return Analysis(trace, labels, tensors, values)


def _used(trace: Trace) -> list[Node]:
    return [node for node in trace.graph.graph.nodes if node.users]


def _label_tensors(model: nn.Module, labels: Labels, used: set[str]) -> dict[str, Value]:
    """Give every parameter and buffer labels, tied ones the same; attention of torch's own keeps its width."""
    reached: set[int] = set()
    made: dict[int, Value] = {}
    tensors: dict[str, Value] = {}
    named: list[tuple[str, Tensor]] = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in named:
        if id(tensor) not in made:
            made[id(tensor)] = labels.of_shape(tuple(tensor.shape), zero=True)
        tensors[name] = made[id(tensor)]
        if name in used:
            reached.add(id(tensor))
    for name, tensor in named:
        if id(tensor) not in reached:
            labels.pin_value(tensors[name], "the example input does not reach it")
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            reason = (
                f"it belongs to the nn.MultiheadAttention {name or 'itself'}, which has one width for its heads and "
                "for what it reads and cannot lose either; separate q, k and v Linear layers can be cut"
            )
            for own, _ in module.named_parameters():
                labels.pin_value(tensors[f"{name}.{own}".lstrip(".")], reason)
    return tensors


def _apply(node: Node, labels: Labels, values: dict[str, Any]) -> Any:
    if getattr(node.target, "__name__", "") == "getitem":
        return values[node.args[0].name][node.args[1]]  # type: ignore[union-attr,index]
    given = _given(node, values)
    if not any(_is_tensor(v) for v in pytree.tree_leaves(node.meta.get("val"))):
        return None
    site = Site(node, labels, node_name(node), given)
    name = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
    plain = name if name in RULES else name.rstrip("_")
    rule = RULES.get(plain)
    if rule is None and isinstance(node.target, OpOverload) and torch.Tag.pointwise in node.target.tags:
        rule = pointwise
    if rule is None:
        return _unknown(site, node)
    outcome = rule(site)
    if name.endswith("_") and isinstance(outcome, Value) and node.args:
        _write_back(node, outcome, values)
    return outcome


def _unknown(site: Site, node: Node) -> Any:
    for value in site.tensors:
        site.labels.pin_value(value, f"no rule says what the operator {site.name} does with channels")
    found = [Value(shape) for shape in site.shapes]
    return found if isinstance(node.meta.get("val"), (list, tuple)) else found[0]


def _write_back(node: Node, outcome: Value, values: dict[str, Any]) -> None:
    """Carry over what an operator did in place to the tensor it was given, and to what that is a view of."""
    target: Any = node.args[0]
    zero = all(f.zero for f in outcome.factors)
    values[target.name] = outcome
    while isinstance(target, Node) and str(getattr(target.target, "__name__", "")).partition(".")[0] in {
        *VIEWS,
        "t",
        "getitem",
    }:
        target = target.args[0]
        value = values[target.name]
        changed = [v.zeroed(zero) for v in value] if isinstance(value, list) else value.zeroed(zero)
        values[target.name] = changed


def _given(node: Node, values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, defaults among them, and tensors as what is known of them."""
    args, kwargs = pytree.tree_map_only(Node, lambda n: values[n.name], (tuple(node.args), dict(node.kwargs)))
    if not isinstance(node.target, OpOverload):
        return {str(i): arg for i, arg in enumerate(args)} | dict(kwargs)
    schema = node.target._schema.arguments  # noqa: SLF001 - the only place that names an operator's arguments
    given = {a.name: a.default_value for a in schema if a.has_default_value()}
    given |= dict(zip((a.name for a in schema), args, strict=False))
    ordered = given | kwargs
    return {a.name: ordered[a.name] for a in schema if a.name in ordered}


def _values(found: Any) -> list[Value]:
    return [v for v in pytree.tree_leaves(found, is_leaf=lambda v: isinstance(v, Value)) if isinstance(v, Value)]


def _is_tensor(found: Any) -> bool:
    return isinstance(found, Tensor)


def join_remaining(labels: Labels) -> None:
    """Join what views and equal shares still ask for, until nothing changes."""
    changed = True
    while changed:
        changed = False
        for factor in labels.spread:
            left = labels.simplified(factor)
            while len(left.axes) > 1:  # the same place of each group, or whole groups where that is flipped
                axes = left.axes
                found = labels.decide(left, axes[:1], axes[-1:], "")
                assert found is not None
                left, changed = labels.simplified(found), True
        for array, _ in labels.shares:
            if _uneven(labels, array):
                labels.join(array, array[:1])
                changed = True


def _uneven(labels: Labels, array: Array) -> bool:
    """Say whether rows that must keep equal counts are neither the same labels throughout nor all their own."""
    roots = labels.roots(array)
    ordered = np.sort(roots, axis=1)
    if bool((ordered == ordered[:1]).all()):
        return False
    pinned = np.isin(roots, labels.roots(np.concatenate([p for p, _ in labels.pins] or [np.empty(0, np.int64)])))
    if bool(pinned.any()):
        return not bool(pinned.all())
    flat = np.unique(roots)
    return len(flat) != roots.size  # each label is one row's, once


def pinned_roots(labels: Labels) -> dict[int, str]:
    """Return the joined labels that stay, each with the first reason."""
    reasons: dict[int, str] = {}
    for array, reason in labels.pins:
        for root in np.unique(labels.roots(array)).tolist():
            reasons.setdefault(root, reason)
    return reasons
