"""Choose for each product of a program the form that the compiler's estimate favours, the dense one included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import _xla_blocks, _xla_bundles, _xla_cost

_cycles: dict[str, int] = {}  # of Pallas kernels, by their names, which say all that they depend on but the chip
_ms: dict[Any, float | None] = {}  # of single products


@dataclass(frozen=True)
class Taken:
    """The form that a layer's product takes, None for XLA's own, why, and the multiplications of the dense product."""

    layer: str
    form: _xla_blocks.Form | None
    label: str
    products: int


def take(program: Any, chip: _xla_cost.Chip, dense: tuple[str, ...]) -> list[Taken]:
    """Give each product of the program the form with the lowest estimate; those of the operators in `dense` XLA's."""
    import ml_dtypes

    taken = []
    for each in program.products:
        weight = program.weight(each)
        if weight.dtype != ml_dtypes.bfloat16:
            continue  # the kernels are for 16 bits
        if each.dense is not None:
            taken.append(Taken(each.layer, None, each.dense, each.rows * weight.size))
            continue
        form, label = _best(program, each, chip)
        if form.sparse and str(each.node.target) in dense:
            said = f"dense: the whole program is estimated to take longer with what is best alone, a {label}"
            taken.append(Taken(each.layer, None, said, each.rows * weight.size))
            continue
        if form.sparse:
            program.take(each, form)
        taken.append(Taken(each.layer, form, label, each.rows * weight.size))
    return taken


def _best(program: Any, product: Any, chip: _xla_cost.Chip) -> tuple[_xla_blocks.Form, str]:
    """Return the form of a product with the lowest estimate, and its label with those of the other kinds of form."""
    weight = program.weight(product)
    forms = _xla_blocks.forms(
        weight, program.bias(product), product.rows, product.activation, chip.unit, chip.vmem_bytes
    )
    dense = forms[0]
    if len(forms) == 1:
        return dense, dense.label
    times = {form: ms for form in forms if (ms := alone(form, weight, product, chip)) is not None}
    if not any(form.kernels for form in times):  # a gather in XLA takes longer than any kernel, and long to compile
        form = _xla_blocks.gathered(weight, product.activation, chip.unit)
        ms = alone(form, weight, product, chip)
        times |= {} if ms is None else {form: ms}
    if dense not in times or len(times) == 1:
        return dense, f"{dense.label}; what skips them has no estimate"
    ranked = sorted(times, key=lambda form: times[form])
    kinds = {form.kind: form for form in reversed(ranked) if form.kind != ranked[0].kind}
    others = ", ".join(f"{kind} {times[form]:.3g}" for kind, form in kinds.items())
    return ranked[0], f"{ranked[0].label} (alone {times[ranked[0]]:.3g} ms; {others})"


def compiled(function: Any, arguments: Any, chip: _xla_cost.Chip) -> Any:
    """Compile a function for the chip, for arrays of the arguments' shapes."""
    import jax
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    device = SingleDeviceSharding(topologies.get_topology_desc(chip.topology, platform="tpu").devices[0])
    shapes = jax.tree.map(lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=device), arguments)
    return jax.jit(function).trace(*shapes).lower(lowering_platforms=("tpu",)).compile()


def known_cycles() -> dict[str, int]:
    return _cycles


def tell(estimate: dict[str, Any], program: Any, taken: list[Taken], chip: _xla_cost.Chip) -> None:
    """Add the shares of the matrix units' peak, of the program and of each layer's dense product, and the forms."""
    forms = {each.layer: each for each in taken}
    per_ms = chip.products_per_cycle * chip.clock_ghz * 1e6
    estimate["utilization"] = program.multiplications / per_ms / estimate["total"]
    for part in estimate["layers"]:
        own = forms.get(part["names"][0]) if part["names"] else None
        if own is not None:
            part["kernel"], part["sparse"] = own.label, own.form is not None and own.form.sparse
            part["utilization"] = own.products / per_ms / part["cost"]


def alone(form: _xla_blocks.Form, weight: Any, product: Any, chip: _xla_cost.Chip) -> float | None:
    """Return the estimate of one product in milliseconds; None where the compiler refuses it, or tells no cycles."""
    import jax
    import numpy as np

    shapes = tuple(each.shape for each in jax.tree.leaves(form.states))
    key = (chip, form.label, shapes, weight.shape, product.rows, product.activation)
    if key not in _ms:
        x, bias = (np.empty(shape, weight.dtype) for shape in ((product.rows, weight.shape[1]), weight.shape[:1]))
        moved = sum(each.nbytes for each in jax.tree.leaves((x, bias, form.states))) + product.rows * bias.nbytes
        try:
            text = compiled(form.apply, (x, form.states, bias), chip).as_text()
            for kernel in form.kernels:
                bundles = _xla_bundles.text_of(kernel.name)
                if bundles is not None:
                    _cycles[kernel.name] = _xla_bundles.cycles(kernel, bundles, chip)
            _ms[key] = _xla_cost.estimate(text, "", {}, moved, chip, _cycles)["total"]
        except (RuntimeError, ValueError, NotImplementedError):  # what XLA, Pallas and its lowering raise
            _ms[key] = None
    return _ms[key]
