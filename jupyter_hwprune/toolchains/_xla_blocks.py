"""Products of a block-sparse weight that skip its zeros on a TPU, each in a form that XLA or Pallas compiles.

A matrix product is y = activation(x @ w + bias), with x [M, K], w [K, N] = the layer's weight transposed. In tiles of
128 inputs by so many outputs, a column of w holds the tiles of some outputs. The kernel multiplies a column at once:
it gathers from x in the core's memory the inputs whose tiles hold weights, by an index table that is there before the
step begins, so that one long product fills the matrix unit whatever the pattern, and the activation of one part is
computed while the next is multiplied. Columns of one length make a kernel; a few lengths are enough for any pattern.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_interpreted = [False]  # whether kernels are computed on this host, and not compiled for a TPU
LANES = 128  # inputs to a tile: a vector register's, below which Pallas cannot slice
OUTPUTS = (512, 256, 128)  # of a tile, the widest first: a wider tile fetches the inputs less often
LENGTHS = 3  # of columns, at most: each is a kernel, and its inputs are fetched anew
WIDER = 1.03  # times the work of the narrowest tile that a wider one may have
PACKED_ROWS = 16  # of 16-bit values in a register


@dataclass(frozen=True, eq=False)
class Form:
    """One way to compute a product: `apply(x, states, bias)` with x [M, K] returns [M, N], the activation applied.

    `label` says what is multiplied, for people, and `multiplied` how many weights, padding included; `kernels` are the
    Pallas kernels in it.
    """

    label: str
    states: Any
    apply: Callable[..., Any]
    sparse: bool
    multiplied: int
    kernels: tuple[Kernel, ...] = ()

    @property
    def kind(self) -> str:
        return self.label.partition(":")[0]


@dataclass(frozen=True)
class Kernel:
    """A Pallas kernel's fixed facts: `steps` of `rows` by `outputs`, each over `length` tiles of LANES inputs."""

    name: str
    rows: int
    outputs: int
    length: int
    inputs: int
    columns: int
    row_tiles: int

    @property
    def steps(self) -> int:
        return self.columns * self.row_tiles

    @property
    def moved_bytes(self) -> int:
        """Bytes that all steps fetch and write in 16 bits: the inputs once for each tile of rows."""
        own = self.rows * self.inputs * self.row_tiles
        return 2 * (own + self.steps * (self.length * LANES * self.outputs + self.outputs + self.rows * self.outputs))

    @property
    def exposed_bytes(self) -> int:
        """Bytes of the first step's operands and of the last one's result, during which nothing is multiplied."""
        weights = self.length * LANES * self.outputs
        return 2 * (self.rows * self.inputs + weights + self.outputs + self.rows * self.outputs)


@contextlib.contextmanager
def interpreted() -> Iterator[None]:
    """Have kernels computed on this host by Pallas's interpreter."""
    _interpreted[0] = True
    try:
        yield
    finally:
        _interpreted[0] = False


def activations() -> dict[str, Callable[[Any], Any]]:
    """Return the activations that a kernel applies itself, by the names of their operators, in float32."""
    import jax

    return {
        "aten.relu.default": lambda v: jax.numpy.maximum(v, 0.0),
        "aten.silu.default": lambda v: v * jax.nn.sigmoid(v),
        "aten.gelu.default": lambda v: 0.5 * v * (1 + jax.lax.erf(v * math.sqrt(0.5))),
        "aten.gelu.default tanh": lambda v: jax.nn.gelu(v, approximate=True),
        "none": lambda v: v,
    }


def occupied(weight: Any, outputs: int, inputs: int) -> Any:
    """Say which tiles [ceil(N/outputs), ceil(K/inputs)] of a weight [N, K] hold a value that is not zero."""
    padded = _padded(weight, outputs, inputs)
    n, k = padded.shape
    return (padded != 0).reshape(n // outputs, outputs, k // inputs, inputs).any(axis=(1, 3))


def forms(weight: Any, bias: Any, rows: int, activation: str, unit: int, vmem_bytes: int) -> list[Form]:
    """Return the ways to compute a product with `weight` [N, K] and `bias` [N] or None, the dense one first.

    `unit` is the side of the matrix unit and `vmem_bytes` the core's memory. Only the dense one is left where every
    tile at the unit's size holds weights.
    """
    there = occupied(weight, unit, unit)
    said = f"dense: {int(there.sum())} of {there.size} blocks of {unit}x{unit} hold weights"
    act = activations()[activation]
    found = [Form(said, weight, lambda x, w, bias: _finish(x @ w.T, bias, act), False, weight.size)]
    if there.all() and occupied(weight, unit, LANES).all():
        return found
    smaller = _removed(weight, act)
    if smaller is not None:
        found.append(smaller)
    return found + kernels(weight, bias, rows, activation, unit, vmem_bytes)


def kernels(weight: Any, bias: Any, rows: int, activation: str, unit: int, vmem_bytes: int) -> list[Form]:
    """Return the product by block-sparse kernels, with each number of rows to a step that fits."""
    found: list[Form] = []
    outputs = _outputs(weight, unit)
    for target in (1024, 512):
        row_tile = min(target, -(-rows // PACKED_ROWS) * PACKED_ROWS)
        if row_tile * weight.shape[1] * 2 * 2 > vmem_bytes * 0.6:
            continue  # two copies of the inputs' tile have to fit beside the weights
        own = _kernel(weight, bias, rows, row_tile, outputs, unit, activation, vmem_bytes)
        if own.label not in [each.label for each in found]:
            found.append(own)
    return found


def _outputs(weight: Any, unit: int) -> int:
    """Choose how many outputs a tile has: as many as leave the work almost as little as the fewest."""
    work = {each: sum(_lengths(weight, each, unit)) * max(each, unit) for each in OUTPUTS}
    return next(each for each in OUTPUTS if work[each] <= WIDER * min(work.values()))


def _lengths(weight: Any, outputs: int, unit: int) -> list[int]:
    """Return for each column how many tiles are multiplied: its class's, in whole depths of the matrix unit."""
    counts = occupied(weight, outputs, LANES).sum(axis=1)
    depth = max(1, unit // LANES)
    rounded = [max(depth, -(-int(each) // depth) * depth) for each in counts]
    tops = _tops(rounded, weight.shape[1] // LANES)
    return [next(top for top in tops if top >= each) for each in rounded]


def _tops(counts: list[int], fetch: int) -> list[int]:
    """Return at most LENGTHS lengths, the longest among them, that pad the columns least.

    Each further one fetches the inputs anew, which costs about as much as `fetch` tiles.
    """
    values = sorted(set(counts))
    best: dict[int, tuple[int, list[int]]] = {}  # by the number of values covered: padded work, lengths
    for used in range(LENGTHS):
        new: dict[int, tuple[int, list[int]]] = {}
        for end in range(1, len(values) + 1):
            starts = [0] if used == 0 else [start for start in best if start < end]
            options = []
            for start in starts:
                before, tops = (0, []) if start == 0 else best[start]
                inside = sum(1 for each in counts if values[start] <= each <= values[end - 1])
                options.append((before + inside * values[end - 1] + fetch, [*tops, values[end - 1]]))
            if options:
                new[end] = min(options)
        best = {end: min([each[end] for each in (best, new) if end in each]) for end in {*best, *new}}
    return best[len(values)][1]


def _kernel(
    weight: Any, bias: Any, rows: int, row_tile: int, outputs: int, unit: int, activation: str, vmem_bytes: int
) -> Form:
    """Return the product by Pallas kernels, one for each length of columns, which write into one result."""
    import numpy as np

    n, k = weight.shape
    there, lengths = occupied(weight, outputs, LANES), np.array(_lengths(weight, outputs, unit))
    padded = _padded(weight, outputs, LANES)
    row_tiles = -(-rows // row_tile)
    states, kernels = [], []
    for length in sorted(set(lengths.tolist())):
        columns = np.flatnonzero(lengths == length)
        index = np.zeros((len(columns), length), np.int32)
        packed = np.zeros((len(columns), length * LANES, outputs), weight.dtype)
        for at, column in enumerate(columns):
            tiles = np.flatnonzero(there[column])
            index[at, : len(tiles)] = tiles
            for j, tile in enumerate(tiles):
                own = padded[column * outputs : (column + 1) * outputs, tile * LANES : (tile + 1) * LANES]
                packed[at, j * LANES : (j + 1) * LANES] = own.T
        states.append((columns.astype(np.int32), index.reshape(-1), packed))
        said = activation.replace("aten.", "").replace(".default", "").replace(" ", "_")
        name = f"blocks_{row_tile}x{padded.shape[1]}_{length}x{outputs}_{len(columns)}x{row_tiles}_{said}"
        kernels.append(Kernel(name, row_tile, outputs, length, padded.shape[1], len(columns), row_tiles))

    row = np.zeros((1, padded.shape[0]), np.float32)  # the bias, in the layout that a step reads
    row[0, :n] = 0.0 if bias is None else bias

    def apply(x: Any, states: Any, _bias: Any) -> Any:
        import jax.numpy as jnp

        own = jnp.pad(x, ((0, row_tile * row_tiles - rows), (0, padded.shape[1] - k)))
        bias, parts = states
        result: Any = None
        for kernel, (columns, index, packed) in zip(kernels, parts):
            result = _call(kernel, own, columns, index, packed, bias, result, activation, vmem_bytes)
        return result[:rows, :n]

    computed, size = int(there.sum()), there.size
    multiplied = int(lengths.sum())
    extra = "" if multiplied == computed else f", {multiplied} with padding"
    label = f"block-sparse kernel: {computed} of {size} blocks of {outputs}x{LANES} multiplied{extra}"
    label += f", {row_tile} rows a step"
    return Form(label, (row, states), apply, True, multiplied * LANES * outputs, tuple(kernels))


def _call(
    kernel: Kernel, x: Any, columns: Any, index: Any, packed: Any, bias: Any, result: Any, activation: str,
    vmem_bytes: int,
) -> Any:  # fmt: skip
    """Multiply some columns; write into `result` what another kernel has begun, None where this one is the first."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    act = activations()[activation]

    def body(columns: Any, index: Any, x: Any, weights: Any, bias: Any, *begun_and_out: Any) -> None:
        at = pl.program_id(1) * kernel.length
        parts = [x[:, pl.ds(pl.multiple_of(index[at + j] * LANES, LANES), LANES)] for j in range(kernel.length)]
        gathered = jnp.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        product = jnp.dot(gathered, weights[0], preferred_element_type=jnp.float32)
        out = begun_and_out[-1]
        out[...] = act(product + bias[...]).astype(out.dtype)

    begun = [] if result is None else [result]
    in_specs = [
        pl.BlockSpec((kernel.rows, kernel.inputs), lambda m, n, columns, index: (m, 0)),
        pl.BlockSpec((1, kernel.length * LANES, kernel.outputs), lambda m, n, columns, index: (n, 0, 0)),
        pl.BlockSpec((1, kernel.outputs), lambda m, n, columns, index: (0, columns[n])),
        *(pl.BlockSpec(memory_space=pl.ANY) for _ in begun),
    ]
    grid = pltpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=2,
        grid=(kernel.row_tiles, kernel.columns),
        in_specs=in_specs,
        out_specs=pl.BlockSpec((kernel.rows, kernel.outputs), lambda m, n, columns, index: (m, columns[n])),
    )
    return pl.pallas_call(
        body,
        grid_spec=grid,
        out_shape=jax.ShapeDtypeStruct((x.shape[0], bias.shape[1]), x.dtype),
        input_output_aliases={5: 0} if begun else {},
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=vmem_bytes),
        interpret=_interpreted[0],
        name=kernel.name,
    )(columns, index, x, packed, bias, *begun)


def gathered(weight: Any, activation: str, unit: int) -> Form:
    """Return the product over the tiles that hold weights, gathered by XLA itself; all columns at the longest."""
    import numpy as np

    n, k = weight.shape
    act = activations()[activation]
    there, padded = occupied(weight, unit, unit), _padded(weight, unit, unit)
    length = max(1, int(there.sum(axis=1).max()))
    index = np.zeros((len(there), length), np.int32)
    packed = np.zeros((len(there), length, unit, unit), weight.dtype)  # [columns, length, inputs, outputs]
    for column, own in enumerate(there):
        for j, tile in enumerate(np.flatnonzero(own)):
            index[column, j] = tile
            packed[column, j] = padded[column * unit :, tile * unit :][:unit, :unit].T

    def apply(x: Any, states: Any, bias: Any) -> Any:
        import jax.numpy as jnp

        index, packed = states
        tiles = jnp.pad(x, ((0, 0), (0, padded.shape[1] - k))).reshape(x.shape[0], -1, unit)
        product = jnp.einsum("mcji,cjio->mco", tiles[:, index], packed, preferred_element_type=jnp.float32)
        return _finish(product.reshape(x.shape[0], -1)[:, :n].astype(x.dtype), bias, act)

    label = f"gather and product: {int(there.sum())} of {there.size} blocks of {unit}x{unit} multiplied"
    return Form(label, (index, packed), apply, True, packed.size)


def _removed(weight: Any, act: Any) -> Form | None:
    """Return a smaller dense product, without the outputs and inputs whose weights are all zero; None if none are."""
    import numpy as np

    outputs, inputs = (np.flatnonzero((weight != 0).any(axis=axis)) for axis in (1, 0))
    n, k = weight.shape
    if (len(outputs), len(inputs)) == (n, k) or not len(outputs):
        return None
    small = np.ascontiguousarray(weight[np.ix_(outputs, inputs)])

    def apply(x: Any, states: Any, bias: Any) -> Any:
        import jax.numpy as jnp

        own = x if len(inputs) == k else jnp.concatenate([x[:, a:b] for a, b in _runs(inputs)], axis=1)
        product = own @ states.T
        if len(outputs) < n:
            whole, at = [], 0
            for a, b in _runs(outputs):
                whole += [jnp.zeros((x.shape[0], a - at), x.dtype), product[:, (outputs < a).sum() :][:, : b - a]]
                at = b
            product = jnp.concatenate([*whole, jnp.zeros((x.shape[0], n - at), x.dtype)], axis=1)
        return _finish(product, bias, act)

    label = f"smaller dense product: {len(outputs)} of {n} outputs by {len(inputs)} of {k} inputs"
    return Form(label, small, apply, True, small.size)


def _runs(positions: Any) -> list[tuple[int, int]]:
    """Return the ranges of neighbours among sorted positions."""
    import numpy as np

    parts = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)
    return [(int(each[0]), int(each[-1]) + 1) for each in parts]


def _finish(product: Any, bias: Any, act: Any) -> Any:
    import jax.numpy as jnp

    biased = product if bias is None else product + bias
    return act(biased.astype(jnp.float32)).astype(product.dtype)


def _padded(weight: Any, outputs: int, inputs: int) -> Any:
    import numpy as np

    n, k = weight.shape
    return np.pad(weight, ((0, -n % outputs), (0, -k % inputs)))
