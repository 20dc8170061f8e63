"""Spare the converter a trace of its own: torch.onnx traces a program anew to decompose operators, if it holds any."""

from __future__ import annotations

import copy
import operator
from collections.abc import Container
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

ATEN = torch.ops.aten
BATCH_NORM = ATEN._native_batch_norm_legit_no_training.default  # noqa: SLF001 - its public name is this
IDENTITIES = (ATEN.detach_.default, ATEN.detach.default, ATEN.contiguous.default, ATEN.dropout.default)  # in inference
VIEWS = (ATEN.flatten.using_ints, ATEN.reshape.default, ATEN.unflatten.int)


class Decomposed(ExportedProgram):
    """A copy of a program that is not traced anew where no operator of it has to be decomposed."""

    @classmethod
    def of(cls, program: ExportedProgram) -> Decomposed:
        own = copy.deepcopy(program.graph_module)  # the converter changes the graph in place
        for node, before in zip(list(own.graph.nodes), program.graph.nodes, strict=True):
            node.name = before.name  # the signature's; a copy does not call an input "input"
            _decompose(own.graph, node)
        return cls(
            root=own,
            graph=own.graph,
            graph_signature=program.graph_signature,
            state_dict=program.state_dict,
            range_constraints=program.range_constraints,
            module_call_graph=program.module_call_graph,
            example_inputs=program.example_inputs,
            constants=program.constants,
            verifiers=program.verifiers,
        )

    def run_decompositions(self, decomp_table: Any = None, decompose_custom_triton_ops: bool = False) -> Any:
        """Return the program itself where each operator of it is the converter's, and none writes to what it reads."""
        known = torch.export.default_decompositions()  # of what torch composes of others, these alone can stay
        if decomp_table is not None and all(_stays(node, decomp_table, known) for node in self.graph.nodes):
            return self
        return super().run_decompositions(decomp_table, decompose_custom_triton_ops)


def _decompose(graph: Graph, node: Node) -> None:
    """Say what torch composes of other operators by these, in place, as far as it is told by shapes alone."""
    if node.op != "call_function":
        return
    x: Any
    x, *others = node.args or (None,)
    made: Any
    with graph.inserting_before(node):
        if node.target in IDENTITIES and _is_made(x) and True not in (*others, *node.kwargs.values()):
            made = x
        elif node.target in VIEWS:
            made = graph.call_function(ATEN.view.default, (x, [*node.meta["val"].shape]))
        elif node.target is ATEN.adaptive_avg_pool2d.default and [*others[0]] == [1, 1]:  # type: ignore[misc]
            made = graph.call_function(ATEN.mean.dim, (x, [-1, -2], True))
        elif node.target is ATEN.batch_norm.default and not node.args[5] and isinstance(node.args[3], Node):
            own = graph.call_function(BATCH_NORM, (*node.args[:5], *node.args[6:8]))
            value = node.meta["val"]
            own.meta = node.meta | {"val": (value, value.new_empty(0), value.new_empty(0))}
            made = graph.call_function(operator.getitem, (own, 0))
        else:
            return
    made.meta = made.meta or dict(node.meta)
    node.replace_all_uses_with(made)
    graph.erase_node(node)


def _is_made(value: Any) -> bool:
    """Say whether the graph computes a value: an input of the model stays no output of it."""
    return isinstance(value, Node) and value.op != "placeholder"


def _stays(node: Node, table: Container[Any], known: Container[Any]) -> bool:
    target = node.target
    if node.op in {"placeholder", "output"} or target is operator.getitem:
        return True
    if not isinstance(target, torch._ops.OpOverload) or target in table:  # noqa: SLF001 - it has no public name
        return False
    schema, composed = target._schema, target._can_decompose()  # noqa: SLF001
    return not schema.is_mutable and (not composed or target in known)
