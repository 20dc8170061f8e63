"""A torch ExportedProgram as a JAX function, with each layer's operations in a scope of its name."""

from __future__ import annotations

import contextlib
import math
import os
from typing import Any

SCOPE = "hwprune:"  # before a layer's name in the names of the compiler's instructions


def start() -> Any:
    """Import JAX for this host's CPU, which also compiles for TPUs that are not here; returns jax."""
    os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost")
    import jax

    return jax


class Program:
    """`function(states, inputs)` computes the outputs as a list; `states` and `inputs` are lists of numpy arrays."""

    def __init__(self, path: str) -> None:
        import torch
        from torch.utils import _pytree as pytree
        from torchax import decompositions
        from torchax.ops import jaten, jtorch  # noqa: F401 - they register the operators

        aten: Any = torch.ops.aten
        loaded = torch.export.load(path)
        table: Any = torch.export.default_decompositions()
        for whole in (aten.scaled_dot_product_attention.default, aten.linear.default):
            table.pop(whole, None)  # XLA fuses these better than their parts, which are in float32
        program = loaded.run_decompositions(table).run_decompositions(decompositions.DECOMPOSITIONS)
        signature = program.graph_signature
        weights = dict(signature.inputs_to_parameters)
        tensors = {**program.state_dict, **program.constants}
        names = {**weights, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
        placeholders = [node.name for node in program.graph.nodes if node.op == "placeholder"]
        self.states = [as_numpy(tensors[names[each]]) for each in placeholders if each in names]
        self.weight_bytes: dict[str, int] = {}  # of each layer
        for weight in weights.values():
            layer = weight.rpartition(".")[0]
            self.weight_bytes[layer] = self.weight_bytes.get(layer, 0) + tensors[weight].nbytes
        leaves = pytree.tree_leaves(program.example_inputs)
        self.inputs = [as_numpy(each) for each in leaves if isinstance(each, torch.Tensor)]
        self._mutated = len(signature.buffers_to_mutate)
        self._program, self._interpreter = program, _interpreter(program, weights)
        self._leaves = leaves
        self._is_tensor = [isinstance(each, torch.Tensor) for each in leaves]

    def function(self, states: Any, inputs: Any) -> Any:
        given = iter(inputs)
        own = [next(given) if tensor else leaf for leaf, tensor in zip(self._leaves, self._is_tensor)]
        found = self._interpreter(self._program.graph_module).run(*states, *own, enable_io_processing=False)
        return [each for each in found[self._mutated :] if hasattr(each, "dtype")]


def _interpreter(program: Any, weights: dict[str, str]) -> Any:
    """Return a class that runs the program's graph by JAX's operators."""
    import jax
    import torch
    from torchax.export import JaxInterpreter

    attention = torch.ops.aten.scaled_dot_product_attention.default
    layers = {node: layer for node in program.graph.nodes if (layer := _layer_of(node, weights)) is not None}

    class Interpreter(JaxInterpreter):  # type: ignore[misc]
        def run_node(self, node: Any) -> Any:
            layer = layers.get(node)
            with contextlib.nullcontext() if layer is None else jax.named_scope(SCOPE + layer):
                return super().run_node(node)

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return _attention(*args, **kwargs) if target is attention else super().call_function(target, args, kwargs)

    return Interpreter


def _layer_of(node: Any, weights: dict[str, str]) -> str | None:
    """Return the torch layer whose weight the node reads, perhaps by a permutation of it."""
    if node.op != "call_function" or str(node.target) == "aten.permute.default":
        return None
    for read in node.all_input_nodes:
        source = read.args[0] if str(read.target) == "aten.permute.default" else read
        module, _, own = weights.get(getattr(source, "name", ""), "").rpartition(".")
        if own == "weight":
            return module
    return None


def _attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Compute attention as torch defines it, with products in the inputs' dtype that are summed in float32."""
    import jax
    import jax.numpy as jnp

    if enable_gqa:
        k, v = (jnp.repeat(each, q.shape[-3] // each.shape[-3], axis=-3) for each in (k, v))
    scores = jnp.einsum("...ld,...sd->...ls", q, k, preferred_element_type=jnp.float32)
    scores = scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    return jnp.matmul(jax.nn.softmax(scores).astype(q.dtype), v)


def as_numpy(tensor: Any) -> Any:
    """Return a torch tensor's values; bfloat16, which numpy lacks, as ml_dtypes has it."""
    import ml_dtypes
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
