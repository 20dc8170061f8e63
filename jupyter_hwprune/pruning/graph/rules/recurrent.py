"""LSTM, GRU and plain RNN: a hidden unit is its row in every gate, its column in `weight_hh`, and what reads it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..labels import Array, Factor, Value
from .site import Outcome, Site

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(at: Site) -> Outcome:
    """Couple all layers and directions of one module: it has a single hidden size."""
    kind = at.node.target.__name__.partition(".")[0]  # type: ignore[union-attr]
    x, params, hidden = at["input"], list(at["params"]), at["hx"]
    states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
    biases, layers, both = at["has_biases"], at["num_layers"], at["bidirectional"]
    directions = 2 if both else 1
    each = len(params) // (layers * directions)
    units = params[1].shape[1]
    if units == 1 or each != (4 if biases else 2):  # with projections
        for value in at.tensors:
            at.labels.pin_value(value, f"{at.name} projects its hidden units")
        return [Value(shape) for shape in at.shapes]
    unit = _row(params[1], 1)
    last = len(x.shape) - 1
    x = at.labels.pin_value(x, f"{at.name} runs along these", range(last))
    feeding: Factor | None = x.on(last)
    for i in range(layers * directions):
        own = params[i * each : (i + 1) * each]
        if i >= directions:
            feeding = Factor(np.tile(unit, directions), True)
        _feed(at, feeding, own[0], units if i >= directions else x.shape[last])
        at.labels.join(_row(own[1], 1), unit)
        at.labels.read += [f.labels.ravel() for tensor in own[:2] if (f := tensor.on(1)) is not None]
        for tensor in own:
            at.labels.join(_row(tensor, 0).reshape(GATES[kind], units), unit)
    for state in states:
        factor = state.on(len(state.shape) - 1)
        at.labels.pin_value(state, f"{at.name} has a state for each of these", range(len(state.shape) - 1))
        if factor is None:
            at.labels.pin(unit, f"{at.name} is given its first state")
        else:
            at.labels.join(factor.labels.ravel(), unit)
    zero = all(f.zero for state in states if (f := state.on(len(state.shape) - 1)) is not None)
    out = np.tile(unit, directions)
    return [_last(out, at.shapes[0], zero), *(_last(unit, shape, zero) for shape in at.shapes[1:])]


def _feed(at: Site, feeding: Factor | None, weight: Value, size: int) -> None:
    columns = weight.on(1)
    if feeding is not None and columns is not None:
        at.labels.join(feeding.labels.ravel(), columns.labels.ravel())
    elif size > 1:
        for factor in (feeding, columns):
            if factor is not None:
                at.labels.pin(factor.labels, f"its channels meet, in {at.name}, an axis that stays whole")


def _row(value: Value, axis: int) -> Array:
    factor = value.on(axis)
    assert factor is not None
    return factor.labels.ravel()


def _last(labels: Array, shape: tuple[int, ...], zero: bool) -> Value:
    if labels.size == 1:
        return Value(shape)
    return Value(shape, (Factor(labels.reshape([1] * (len(shape) - 1) + [-1]), zero),))


RULES: dict[str, Callable[[Site], Outcome]] = dict.fromkeys(GATES, recurrent)
