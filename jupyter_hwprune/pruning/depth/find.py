"""Find the residual blocks of a model in its graph: modules that add branches to a stream and pass the stream on.

A block is known by what it computes, never by its class: one tensor comes in, one of its shape goes out, and between
them stand additions of what layers with weights make of it. Normalisations and activations of the sum belong to it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from ..graph.trace import GraphTrace

SAME = {"to", "_to_copy", "clone", "alias", "detach", "contiguous", "dropout", "dropout_", "identity"}
AFTER_A_SUM = {
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "gelu", "silu", "silu_", "hardswish", "hardswish_", "leaky_relu",
    "leaky_relu_", "elu", "mish", "prelu", "layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm",
}  # fmt: skip


@dataclass(frozen=True)
class ResidualBlock:
    """A residual block: the nodes of the graph in it, that of the stream where it comes in, and where it goes out."""

    name: str
    kind: str
    nodes: frozenset[Node] = field(repr=False)
    stream: Node = field(repr=False)
    out: Node = field(repr=False)
    sums: frozenset[Node] = field(repr=False)  # the additions to the stream


def find_blocks(model: nn.Module, trace: GraphTrace) -> list[ResidualBlock]:
    """Return the blocks in the order of definition, the largest that are not made of like blocks themselves."""
    inside = _nodes_by_module(trace)
    known = {}
    for name, nodes in inside.items():
        found = _block(name, type(model.get_submodule(name)).__name__, nodes, trace) if name else None
        if found is not None:
            known[name] = found
    return list(_chosen("", model, known))


def _nodes_by_module(trace: GraphTrace) -> dict[str, list[Node]]:
    """List the nodes that each module's call made; a module that is called more than once is left out."""
    inside: defaultdict[str, list[Node]] = defaultdict(list)
    repeated = set()
    for node in trace.graph.graph.nodes:
        if node.op in {"placeholder", "output"}:
            continue
        for path in dict.fromkeys(str(path) for path, _ in node.meta.get("nn_module_stack", {}).values()):
            name, _, call = path.partition("@")
            inside[name].append(node)
            if call:
                repeated.add(name)
    return {name: nodes for name, nodes in inside.items() if name not in repeated}


def _chosen(name: str, module: nn.Module, known: dict[str, ResidualBlock]) -> Iterator[ResidualBlock]:
    parts = [
        block
        for child, inner in module.named_children()
        for block in _chosen(f"{name}.{child}".lstrip("."), inner, known)
    ]
    own = known.get(name)
    if own is None or _is_made_of(own, parts, {part.name: module.get_submodule(_below(part, name)) for part in parts}):
        yield from parts
    else:
        yield own


def _below(part: ResidualBlock, name: str) -> str:
    return part.name.removeprefix(f"{name}.") if name else part.name


def _is_made_of(own: ResidualBlock, parts: list[ResidualBlock], modules: dict[str, nn.Module]) -> bool:
    """Say whether like blocks make up this one: a stage of a network, where one layer's two halves are not alike."""
    sums = {node for part in parts for node in part.sums}
    alike = Counter(
        (part.kind, tuple((name, tuple(p.shape)) for name, p in modules[part.name].named_parameters()))
        for part in parts
    )
    return sums >= own.sums and max(alike.values(), default=0) > 1


def _block(name: str, kind: str, nodes: list[Node], trace: GraphTrace) -> ResidualBlock | None:
    inside = frozenset(nodes)
    outs = [node for node in nodes if any(user not in inside for user in node.users)]
    if len(outs) != 1 or not isinstance(outs[0].meta.get("val"), Tensor):
        return None
    like = _like(outs[0])
    given = dict.fromkeys(each for node in nodes for each in node.all_input_nodes if each not in inside)
    for stream in given:
        if stream.name not in trace.names and _like(stream) == like:
            sums = _sums_on_the_way(stream, outs[0], nodes, trace)
            if sums:
                return ResidualBlock(name, kind, inside, stream, outs[0], sums)
    return None


def _sums_on_the_way(stream: Node, out: Node, nodes: list[Node], trace: GraphTrace) -> frozenset[Node]:
    """Follow the stream through the module; return the additions to it, none where it does not come out."""
    like = _like(stream)
    carried: dict[Node, frozenset[Node]] = {stream: frozenset()}
    made, weighty = {stream}, set[Node]()  # what depends on the stream, and on weights after it
    for node in nodes:
        inputs = node.all_input_nodes
        if made.isdisjoint(inputs):
            continue
        made.add(node)
        if not weighty.isdisjoint(inputs) or any(each.name in trace.names for each in inputs):
            weighty.add(node)
        if _like(node) != like:
            continue
        operator = _operator(node)
        first = node.args[0] if node.args and isinstance(node.args[0], Node) else None
        if operator in {"add", "add_"} and len(inputs) == 2:
            on, branch = (inputs[0], inputs[1]) if inputs[0] in carried else (inputs[1], inputs[0])
            if on in carried and branch not in carried and branch in weighty and _like(on) == _like(branch) == like:
                carried[node] = carried[on] | {node}
        elif first in carried and (operator in SAME or (carried[first] and _may_follow(operator, node))):
            carried[node] = carried[first]
    return carried.get(out, frozenset())


def _may_follow(operator: str, node: Node) -> bool:
    scaled = operator in {"mul", "mul_", "div", "div_"} and len(node.all_input_nodes) == 1
    return operator in AFTER_A_SUM or scaled


def _operator(node: Node) -> str:
    return str(getattr(node.target, "_schema", node.target)).partition("(")[0].rpartition("::")[2].partition(".")[0]


def _like(node: Node) -> Any:
    value = node.meta.get("val")
    return (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else None
