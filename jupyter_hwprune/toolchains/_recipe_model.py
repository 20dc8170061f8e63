"""The user's model without its class: a tree of modules of the kinds that SparseML expects, which can be run.

It runs as an ExportedProgram in which every node that is exactly one Linear layer calls that layer of the tree.
"""

from __future__ import annotations

from typing import Any

PRUNED_BY_IT = "Linear"  # the one kind of layer that SparseML's calibrated modifiers work on
SAME = 1e-3  # of two computations of one model in float32


class Model:
    """A tree of modules with the user's names, kinds and weights; with a program it can also be run."""

    def __init__(self, torch: Any, request: dict[str, Any]) -> None:
        self.torch, self.modules = torch, request["modules"]
        self.left_out: dict[str, str] = {}
        self.program: Any = None if request["program"] is None else torch.export.load(request["program"])
        program = self.program
        tensors = torch.load(request["weights"], weights_only=True) if program is None else program.state_dict
        self.parameters: dict[str, Any] = {}
        for name, source in request["parameters"].items():  # a tied weight is one parameter under several names
            if source not in self.parameters:
                tensor = tensors[source].detach()
                self.parameters[source] = torch.nn.Parameter(tensor.clone(), requires_grad=tensor.is_floating_point())
            self.parameters[name] = self.parameters[source]
        self.calls = self._calls() if self.program is not None else {}
        self.root = self._tree()
        if request["no_split"]:
            self.root._no_split_modules = request["no_split"]
        if self.program is not None:
            self._run_through_layers(request)

    def _tree(self) -> Any:
        torch, model = self.torch, self

        class Root(torch.nn.Module):  # type: ignore[name-defined,misc]
            def forward(self, input_ids: Any, attention_mask: Any) -> Any:  # noqa: ARG002 - SparseML's names
                return model.outputs(model.batches[int(input_ids[0])])

        root = Root()
        for name, (kind, base_name) in self.modules.items():
            weight, base = self.parameters.get((name + ".weight").lstrip(".")), base_name
            if self.program is not None and base == PRUNED_BY_IT and name not in self.calls.values():
                self.left_out[name] = "torch's graph of the model does not call it as a layer on this input"
                base = None
            own = root if not name and base is None else self._module(kind, base, weight)
            if not name:
                root = own
            else:
                parent, _, last = name.rpartition(".")
                root.get_submodule(parent).add_module(last, own)
        for name, parameter in self.parameters.items():
            owner, _, last = name.rpartition(".")
            root.get_submodule(owner).register_parameter(last, parameter)
        return root.eval()

    def _module(self, kind: str, base: str | None, weight: Any) -> Any:
        """Make a module that SparseML recognises, by its class and by its class's name."""
        nn = self.torch.nn
        if base is None or weight is None:
            own = nn.Module()
        elif base in ("Linear", "Embedding"):
            sizes = (weight.shape[1], weight.shape[0]) if base == "Linear" else tuple(weight.shape)
            own = getattr(nn, base)(*sizes, device="meta", **({"bias": False} if base == "Linear" else {}))
        else:  # a convolution: modifiers only look at its class and its weight
            outputs, inputs, *kernel = weight.shape
            own = getattr(nn, base)(inputs, outputs, tuple(kernel), bias=False, device="meta")
        own.__class__ = type(str(kind), (type(own),), {})
        return own

    def _calls(self) -> dict[Any, str]:
        """Return the graph's nodes that are exactly one Linear layer with its own weight and bias."""
        self.graph = self.program.module()
        calls = {}
        for node in self.graph.graph.nodes:
            if node.target is not self.torch.ops.aten.linear.default or node.args[1].op != "get_attr":
                continue
            layer, _, last = str(node.args[1].target).rpartition(".")
            own_bias = (layer + ".bias").lstrip(".")
            bias = node.args[2] if len(node.args) > 2 else None
            fits = (own_bias not in self.parameters) if bias is None else str(bias.target) == own_bias
            if last == "weight" and fits and self.modules.get(layer, ("", ""))[1] == PRUNED_BY_IT:
                calls[node] = layer
        return calls

    def _run_through_layers(self, request: dict[str, Any]) -> None:
        """Run the program through the layers of the tree, and compare with what torch computed for the user's model."""
        import numpy as np

        torch = self.torch
        self.batches = [self.program.example_inputs]
        if request["batches"] is not None:
            self.batches = torch.load(request["batches"], weights_only=True)
        with torch.no_grad(), np.load(request["expected"]) as file:
            for output, key in zip(self.outputs(self.program.example_inputs), file.files):
                want = torch.from_numpy(file[key])
                if float((output - want).abs().max()) > SAME * max(1e-30, float(want.abs().max())):
                    raise RuntimeError("the exported model does not compute what torch computes through its layers")

    def outputs(self, inputs: Any) -> Any:
        """Run the program with the tree's weights and its Linear layers in their current state."""
        torch, calls, parameters, root = self.torch, self.calls, self.parameters, self.root
        from torch.utils import _pytree as pytree

        class Interpreter(torch.fx.Interpreter):  # type: ignore[name-defined,misc]
            def run_node(self, node: Any) -> Any:
                if node.op == "call_module" and node.target == "_guards_fn":
                    return None
                if node in calls:
                    return root.get_submodule(calls[node])(self.env[node.args[0]])
                return super().run_node(node)

            def fetch_attr(self, target: str) -> Any:
                return parameters[target] if target in parameters else super().fetch_attr(target)

        return Interpreter(self.graph).run(*pytree.tree_leaves(tuple(inputs)), enable_io_processing=False)
