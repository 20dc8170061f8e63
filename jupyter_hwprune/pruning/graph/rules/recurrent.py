"""LSTM, GRU and plain RNN: a hidden unit is its row in every gate, its column in `weight_hh`, and what reads it."""

import numpy as np

from ..labels import Array, Factor, Value, on_axis
from .site import Outcome, Rules, Site

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
CELLS = {f"{kind}_cell": gates for kind, gates in GATES.items()}


def recurrent(at: Site) -> Outcome:
    """Couple all layers and directions of one module: it has a single hidden size."""
    x, params, hidden = at.get("input", at.get("data")), list(at["params"]), at["hx"]  # the data of packed sequences
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
        _couple(at, feeding, own, unit, GATES[at.operator])
    zero = _joined_states(at, states, unit)
    out = np.tile(unit, directions)
    return [_last(out, at.shapes[0], zero), *(_last(unit, shape, zero) for shape in at.shapes[1:])]


def cell(at: Site) -> Outcome:
    """Take one step: x [B, C] and a state [B, H] -> the next state, of an LSTM with its memory."""
    x, hidden = at["input"], at["hx"]
    states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
    weights = [v for k in ("w_ih", "w_hh", "b_ih", "b_hh") if isinstance(v := at.get(k), Value)]
    if weights[1].shape[1] == 1:
        for value in at.tensors:
            at.pin(value, "has a single hidden unit")
        return [Value(shape) for shape in at.shapes] if len(at.shapes) > 1 else Value(at.shape)
    unit, last = _row(weights[1], 1), len(x.shape) - 1
    _couple(at, at.pin(x, "runs along these", range(last)).on(last), weights, unit, CELLS[at.operator])
    zero = _joined_states(at, states, unit) or CELLS[at.operator] == 1  # a plain RNN gives zeros for no weights
    after = [_last(unit, shape, zero) for shape in at.shapes]
    return after if len(after) > 1 else after[0]


def _couple(at: Site, feeding: Factor | None, own: list[Value], unit: Array, gates: int) -> None:
    """Couple what one layer reads with its first weight, and each unit with its rows in every gate of all weights."""
    at.pair(feeding, own[0].on(1))
    at.labels.join(_row(own[1], 1), unit)
    at.labels.read += [f.labels.ravel() for tensor in own[:2] if (f := tensor.on(1)) is not None]
    for tensor in own:
        at.labels.join(_row(tensor, 0).reshape(gates, len(unit)), unit)


def _joined_states(at: Site, states: list[Value], unit: Array) -> bool:
    """Join the units of the first states with the others; say whether those that are masked out are zero there."""
    ends = [(state, len(state.shape) - 1) for state in states]
    for state, end in ends:
        at.pin(state, "has a state for each of these", range(end))
        factor = state.on(end)
        if factor is None:
            at.labels.pin(unit, f"{at.name} is given its first state")
        else:
            at.labels.join(factor.labels.ravel(), unit)
    return all(f.zero for state, end in ends if (f := state.on(end)) is not None)


def _row(value: Value, axis: int) -> Array:
    factor = value.on(axis)
    assert factor is not None
    return factor.labels.ravel()


def _last(labels: Array, shape: tuple[int, ...], zero: bool) -> Value:
    return Value(shape, (Factor(on_axis(labels, len(shape) - 1, len(shape)), zero),))


def packed(at: Site) -> Outcome:
    """Lay sequences of unlike lengths end to end, [B, T, C] -> [N, C] and their lengths; or padded again."""
    x = at.x
    last = len(x.shape) - 1
    kept = at.pin(x, "runs along these", range(last)).on(last)
    padded = not at.get("padding_value")
    first = Value(at.shapes[0]) if kept is None else _last(kept.labels.ravel(), at.shapes[0], kept.zero and padded)
    return [first, *(Value(shape) for shape in at.shapes[1:])]


RULES: Rules = {
    recurrent: " ".join(GATES),
    cell: " ".join(CELLS),
    packed: "_pack_padded_sequence _pad_packed_sequence",
}
