"""A torch ExportedProgram as a JAX function, with each layer's operations in a scope of its name.

A linear layer or a 1x1 convolution, and an activation that alone reads it, may be computed in another form, which
multiplies matrices: `Program.take`.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._xla_blocks import activations

if TYPE_CHECKING:
    from ._xla_blocks import Form

LINEAR, CONVOLUTION = "aten.linear.default", "aten.convolution.default"
SCOPE = "hwprune-"  # before a layer's name in the names of the compiler's instructions


def start() -> Any:
    """Import JAX for this host's CPU, which also compiles for TPUs that are not here; returns jax."""
    os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost")
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # the compiler locks out other processes as if it had a TPU
    import jax

    return jax


@dataclass(frozen=True)
class Product:
    """A linear layer's or convolution's node, and that of the activation that alone reads it.

    Weight and bias are states by position, `rows` those of its input as a matrix, `activation` is the operator with its
    mode, "none" without one. `dense` says why it cannot be computed in another form, None where it can.
    """

    layer: str
    node: Any
    state: int
    bias: int | None
    rows: int
    activation: str
    activated: Any | None
    dense: str | None = None


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
        for whole in (aten.scaled_dot_product_attention.default, aten.linear.default, aten.silu.default):
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
        held = [each for each in placeholders if each in names]
        parted = [weights.get(each, "").rpartition(".") for each in held]
        self.layers = [layer if own == "weight" else None for layer, _, own in parted]  # whose weight each state is
        self.products = [*_products(program, weights, held)]
        self.multiplications = sum(map(_multiplications, program.graph.nodes))  # of one run
        self._forms: dict[Any, Form] = {}
        self._fused: set[Any] = set()
        leaves = pytree.tree_leaves(program.example_inputs)
        self.inputs = [as_numpy(each) for each in leaves if isinstance(each, torch.Tensor)]
        self._mutated = len(signature.buffers_to_mutate)
        self._program, self._interpreter = program, _interpreter(program, weights, self._forms, self._fused)
        self._leaves = leaves
        self._is_tensor = [isinstance(each, torch.Tensor) for each in leaves]

    def weight(self, product: Product) -> Any:
        """Return a product's weight as a matrix [outputs, inputs x taps]."""
        weight = self.states[product.state]
        return weight.reshape(len(weight), -1)

    def bias(self, product: Product) -> Any:
        """Return a product's bias; None without one."""
        return None if product.bias is None else self.states[product.bias]

    def take(self, product: Product, form: Form) -> None:
        """Compute a product in a form from now on, with the form's states in place of the layer's weight."""
        import jax

        old = self.states[product.state]
        self.states[product.state] = form.states
        self.weight_bytes[product.layer] += sum(each.nbytes for each in jax.tree.leaves(form.states)) - old.nbytes
        self.multiplications += product.rows * (form.multiplied - old.size)
        self._forms[product.node] = form
        self._fused |= {product.activated} - {None}

    def function(self, states: Any, inputs: Any) -> Any:
        given = iter(inputs)
        own = [next(given) if tensor else leaf for leaf, tensor in zip(self._leaves, self._is_tensor)]
        found = self._interpreter(self._program.graph_module).run(*states, *own, enable_io_processing=False)
        return [each for each in found[self._mutated :] if hasattr(each, "dtype")]


def _products(program: Any, weights: dict[str, str], held: list[str]) -> Any:
    """Yield the linear layers and convolutions whose weight nothing else reads."""
    for node in program.graph.nodes:
        if str(node.target) not in {LINEAR, CONVOLUTION}:
            continue
        weight = node.args[1]
        layer, _, own = weights.get(weight.name, "").rpartition(".")
        if own != "weight" or len(weight.users) > 1:
            continue
        after = next(iter(node.users)) if len(node.users) == 1 else None
        activation = "none" if after is None else str(after.target)
        if (
            after is not None
            and activation == "aten.gelu.default"
            and after.kwargs.get("approximate", "none") == "tanh"
        ):
            activation += " tanh"
        if activation not in activations():
            activation, after = "none", None
        out = node.meta["val"].shape
        rows, dense = math.prod(out[:-1]), None
        if str(node.target) == CONVOLUTION:
            rows, dense = math.prod(out) // out[1], _not_by_matrices(node)
        bias = held.index(node.args[2].name) if len(node.args) > 2 and node.args[2] is not None else None
        yield Product(layer, node, held.index(weight.name), bias, rows, activation, after, dense)


def _not_by_matrices(node: Any) -> str | None:
    """Say why a convolution is no product of matrices; None if it is."""
    stride, padding, transposed, groups = (node.args[at] for at in (3, 4, 6, 8))
    taps = math.prod(node.args[1].meta["val"].shape[2:])
    if groups != 1 or transposed:
        return "dense: there is no block-sparse kernel for convolutions in groups or transposed ones"
    if taps > 1:
        return (
            f"dense: there is no block-sparse kernel for {taps} taps, which as a product would read each input as often"
        )
    if any(padding) or any(each > 1 for each in stride):
        return "dense: XLA pads or strides within its convolution; a block-sparse kernel would need a copy of the input"
    return None


def _multiplications(node: Any) -> int:
    """Return how many numbers a node multiplies in products of matrices and convolutions."""
    import torch
    from torch.utils import flop_counter

    aten: Any = torch.ops.aten
    of_attention: Any = flop_counter.sdpa_flop_count
    if node.op != "call_function":
        return 0
    shapes = [each.meta["val"].shape for each in node.all_input_nodes if isinstance(each.meta["val"], torch.Tensor)]
    if node.target is aten.linear.default:
        return math.prod(shapes[0]) * int(shapes[1][0])
    if node.target is aten.scaled_dot_product_attention.default:
        return int(of_attention(*shapes[:3])) // 2
    count = flop_counter.flop_registry.get(getattr(node.target, "overloadpacket", None))
    if count is None:
        return 0
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
    return int(count(*args, **kwargs, out_val=node.meta["val"])) // 2


def _interpreter(program: Any, weights: dict[str, str], forms: dict[Any, Form], fused: set[Any]) -> Any:
    """Return a class that runs the program's graph by JAX's operators, and those in `forms` in these."""
    import jax
    import torch
    from torchax.export import JaxInterpreter

    attention = torch.ops.aten.scaled_dot_product_attention.default
    layers = {node: layer for node in program.graph.nodes if (layer := _layer_of(node, weights)) is not None}

    class Interpreter(JaxInterpreter):  # type: ignore[misc]
        def run_node(self, node: Any) -> Any:
            layer = layers.get(node)
            if node in fused:
                return self.env[node.args[0]]  # the product before it has applied it
            with contextlib.nullcontext() if layer is None else jax.named_scope(SCOPE + layer):
                if node not in forms:
                    return super().run_node(node)
                given: Any = (*self.fetch_args_kwargs_from_env(node)[0], None)
                x, states, bias = given[:3]
                if str(node.target) == LINEAR:
                    result = forms[node].apply(x.reshape(-1, x.shape[-1]), states, bias)
                    return result.reshape(*x.shape[:-1], -1)
                x = jax.numpy.moveaxis(x, 1, -1)  # [N, C, ..] -> [N, .., C]
                result = forms[node].apply(x.reshape(-1, x.shape[-1]), states, bias)
                return jax.numpy.moveaxis(result.reshape(*x.shape[:-1], -1), -1, 1)

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


def as_floats(outputs: list[Any]) -> list[Any]:
    """Return JAX's arrays as numpy's; bfloat16, which others cannot read, in float32."""
    import numpy as np

    return [np.asarray(each).astype("float32") if each.dtype.kind == "V" else np.asarray(each) for each in outputs]
