"""The labels of every tensor of a graph: each node's rule in turn, then what the whole graph asks of them."""

from collections.abc import Collection
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Node
from torch.utils import _pytree as pytree

from .labels import Array, Labels, Value, node_name, operator_name, values_in
from .rules import RULES, Site
from .rules.elementwise import pointwise
from .trace import GraphTrace, tensors_of_model

VIEWS = {"view", "slice", "select", "narrow", "transpose", "permute", "unsqueeze", "squeeze", "split", "chunk"}
VIEWS |= {"unbind", "t", "getitem"}


@dataclass(frozen=True)
class Analysis:
    trace: GraphTrace
    labels: Labels
    tensors: dict[str, Value]  # the parameters and buffers, by name
    values: dict[str, Any]  # what each node of the graph makes


def analyse_graph(model: nn.Module, trace: GraphTrace, flipped: Collection[str] = ()) -> Analysis:
    """Label the graph. `flipped` are the views whose open choice, which axis shrinks, falls the other way."""
    labels, names, nodes = Labels(flipped), trace.names, trace.graph.graph.nodes
    tensors = _label_tensors(model, labels, {names[node.name] for node in nodes if node.users and node.name in names})
    weights: set[str] = set()  # nodes that no input has a part in
    values: dict[str, Any] = {}
    for node in nodes:
        given = node.all_input_nodes
        if node.op == "placeholder":
            shape = getattr(node.meta.get("val"), "shape", ())
            values[node.name] = tensors[names[node.name]] if node.name in names else Value(tuple(shape))
        elif node.op == "get_attr":  # a tensor made in the model's code, or an object that no rule looks into
            constant = attrgetter(str(node.target))(trace.graph)
            values[node.name] = Value(tuple(constant.shape)) if isinstance(constant, Tensor) else None
        elif node.op == "call_function":
            values[node.name] = _apply(node, labels, values)
        elif node.op == "output":
            for made in given:
                called = trace.outputs.get(made.name, "")
                for value in values_in(values[made.name]):
                    labels.pin_value(value, f"its channels are the model's output {called}".rstrip())
            break
        if node.name in names or (given and all(n.name in weights for n in given)):
            weights.add(node.name)
            labels.weights |= {id(value) for value in values_in(values[node.name])}
    join_remaining(labels)
    return Analysis(trace, labels, tensors, values)


def _label_tensors(model: nn.Module, labels: Labels, used: set[str]) -> dict[str, Value]:
    """Give every parameter and buffer labels, tied ones the same; attention of torch's own keeps its width."""
    named = tensors_of_model(model)
    reached = {id(named[name]) for name in used}
    distinct = {id(tensor): tensor for tensor in named.values()}
    made = {key: labels.of_shape(tensor.shape, zero=True) for key, tensor in distinct.items()}
    tensors = {name: made[id(tensor)] for name, tensor in named.items()}
    for name, tensor in named.items():
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
    name, found = operator_name(node), node.meta.get("val")
    if name == "getitem":
        return values[node.args[0].name][node.args[1]]  # type: ignore[union-attr,index]
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(found)):
        return None
    site = Site(node, labels, node_name(node), _given(node, values))
    rule = RULES.get(name) or RULES.get(name.rstrip("_"))
    if rule is None and isinstance(node.target, OpOverload) and torch.Tag.pointwise in node.target.tags:
        rule = pointwise
    if rule is None:
        for value in site.tensors:
            labels.pin_value(value, f"no rule says what the operator {site.name} does with channels")
        unknown = [Value(shape) for shape in site.shapes]
        return unknown if isinstance(found, (list, tuple)) else unknown[0]
    outcome = rule(site)
    if name.endswith("_") and isinstance(outcome, Value) and node.args:
        _write_back(node.args[0], outcome, values)
    return outcome


def _write_back(target: Any, outcome: Value, values: dict[str, Any]) -> None:
    """Carry over what an operator did in place to the tensor it was given, and to what that is a view of."""
    zero = all(f.zero for f in outcome.factors)
    values[target.name] = outcome
    while isinstance(target, Node) and operator_name(target) in VIEWS:
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
    given |= dict(zip((a.name for a in schema), args, strict=False)) | kwargs
    return {a.name: given[a.name] for a in schema if a.name in given}


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
        for array in labels.shares:
            if _uneven(labels, array):
                labels.join(array, array[:1])
                changed = True


def _uneven(labels: Labels, array: Array) -> bool:
    """Say whether rows that must keep equal counts are neither the same labels throughout nor all their own."""
    roots = labels.roots(array)
    ordered = np.sort(roots, axis=1)
    if bool((ordered == ordered[:1]).all()):
        return False
    pinned = labels.pinned(roots)
    if bool(pinned.any()):
        return not bool(pinned.all())
    return len(np.unique(roots)) != roots.size  # each label is one row's, once


def pinned_roots(labels: Labels) -> dict[int, str]:
    """Return the joined labels that stay, each with the first reason."""
    reasons: dict[int, str] = {}
    for array, reason in labels.pins:
        for root in np.unique(labels.roots(array)).tolist():
            reasons.setdefault(root, reason)
    return reasons
