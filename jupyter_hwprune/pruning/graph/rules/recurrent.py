"""LSTM, GRU and plain RNN: a hidden unit is its row in every gate, its column in `weight_hh`, and what reads it."""

import numpy as np

from ..labels import Array, Factor, Value, on_axis
from .site import Outcome, Rules, Site

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(at: Site) -> Outcome:
    """Couple all layers and directions of one module: it has a single hidden size."""
    x, params, hidden = at["input"], list(at["params"]), at["hx"]
    states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
    directions = 2 if at["bidirectional"] else 1
    runs = at["num_layers"] * directions
    each = len(params) // runs
    units = params[1].shape[1]
    if units == 1 or each != (4 if at["has_biases"] else 2):  # with projections
        for value in at.tensors:
            at.pin(value, "projects its hidden units")
        return [Value(shape) for shape in at.shapes]
    unit = _row(params[1], 1)
    last = len(x.shape) - 1
    feeding: Factor | None = at.pin(x, "runs along these", range(last)).on(last)
    for i in range(runs):
        own = params[i * each : (i + 1) * each]
        if i >= directions:
            feeding = Factor(np.tile(unit, directions), True)
        at.pair(feeding, own[0].on(1))
        at.labels.join(_row(own[1], 1), unit)
        at.labels.read += [f.labels.ravel() for tensor in own[:2] if (f := tensor.on(1)) is not None]
        for tensor in own:
            at.labels.join(_row(tensor, 0).reshape(GATES[at.operator], units), unit)
    ends = [(state, len(state.shape) - 1) for state in states]
    for state, end in ends:
        at.pin(state, "has a state for each of these", range(end))
        factor = state.on(end)
        if factor is None:
            at.labels.pin(unit, f"{at.name} is given its first state")
        else:
            at.labels.join(factor.labels.ravel(), unit)
    zero = all(f.zero for state, end in ends if (f := state.on(end)) is not None)
    out = np.tile(unit, directions)
    return [_last(out, at.shapes[0], zero), *(_last(unit, shape, zero) for shape in at.shapes[1:])]


def _row(value: Value, axis: int) -> Array:
    factor = value.on(axis)
    assert factor is not None
    return factor.labels.ravel()


def _last(labels: Array, shape: tuple[int, ...], zero: bool) -> Value:
    return Value(shape, (Factor(on_axis(labels, len(shape) - 1, len(shape)), zero),))


RULES: Rules = {recurrent: " ".join(GATES)}
