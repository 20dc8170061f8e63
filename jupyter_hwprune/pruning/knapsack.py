"""`--allocation mixed`: each layer's share by an exact knapsack over what a scan measured, never worse than uniform.

`allocation.allocate` takes the cheapest steps along convex curves, which is exact only where the curves are convex.
Here each layer takes one of its levels, by steps of one percent, and HiGHS (Huangfu and Hall 2018), through scipy,
finds the least sum of errors for the weights that have to go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from ..core.errors import PruneError
from ..report import Curve, Sensitivity
from .allocation import curve_of

STEP = 0.01  # of sparsity: the levels of each layer
MOST = 0.98
TIME_LIMIT_S = 20.0
GAP = 1e-3  # of the sum of errors: a better division than this is not looked for


def divide(sensitivity: Sensitivity, sparsity: float) -> dict[str, float]:
    """Return each layer's sparsity, with the least sum of errors for `sparsity` over all their weights.

    Errors between the points of the scan are read as `allocate` does. As many weights go as the share asks for, and
    less than one group more. Raises PruneError where layers that keep something cannot lose so many.
    """
    curves, errors = sensitivity.curves, curve_of(sensitivity)
    total = sum(_groups(each) * each.group for each in curves)
    wanted = math.ceil(sparsity * total - 1e-9)
    levels = [_levels(each, sparsity) for each in curves]
    most = [own[-1] for own in levels]
    if not curves or _weights(curves, most) < wanted:
        raise PruneError(
            f"{sparsity:.1%} of the weights cannot be taken from {len(curves)} layers when each keeps something. "
            "Choose a lower --sparsity, or leave fewer layers dense."
        )
    tried = [gone for gone in ([_up(each, sparsity) for each in curves], most) if _weights(curves, gone) >= wanted]
    bound = min(total_error(curves, errors, gone) for gone in tried)
    exact = _milp(curves, levels, errors, wanted, bound)
    if exact is not None and _weights(curves, exact) >= wanted:  # within its tolerance, it may be a few weights less
        tried.append(exact)
    removed = min(tried, key=lambda gone: total_error(curves, errors, gone))
    removed = _given_back(curves, errors, removed, wanted)
    return {each.layer: gone / _groups(each) for each, gone in zip(curves, removed, strict=True)}


def total_error(
    curves: Sequence[Curve], errors: Mapping[str, Callable[[float], float]], removed: Sequence[int]
) -> float:
    """Return the sum of the layers' errors where so many groups of each are gone."""
    return sum(errors[each.layer](gone / _groups(each)) for each, gone in zip(curves, removed, strict=True))


def _weights(curves: Sequence[Curve], removed: Sequence[int]) -> int:
    return sum(gone * each.group for gone, each in zip(removed, curves, strict=True))


def _groups(curve: Curve) -> int:
    return max(1, curve.weights // curve.group)


def _up(curve: Curve, share: float) -> int:
    """Return the groups of a share, rounded up; a layer keeps one."""
    return min(math.ceil(share * _groups(curve) - 1e-9), _groups(curve) - 1)


def _levels(curve: Curve, sparsity: float) -> list[int]:
    """Return the numbers of groups that a layer may lose: whole percents, and what the same share of each comes to."""
    own = {_up(curve, at * STEP) for at in range(round(MOST / STEP) + 1)}
    return sorted(own | {_up(curve, sparsity)})


def _milp(
    curves: Sequence[Curve],
    levels: Sequence[Sequence[int]],
    errors: Mapping[str, Callable[[float], float]],
    wanted: int,
    bound: float,
) -> list[int] | None:
    """Choose one level of each layer; None where the solver found nothing in its time.

    No layer alone loses more than the `bound`, which a known division comes to: the solver's tolerances are of that.
    """
    every = [(row, groups) for row, own in enumerate(levels) for groups in own]
    lost = [errors[curves[row].layer](groups / _groups(curves[row])) for row, groups in every]
    of_layer = [each for each, loss in zip(every, lost, strict=True) if loss <= bound]
    losses = np.array([loss for loss in lost if loss <= bound])
    sizes = np.array([groups * curves[row].group for row, groups in of_layer], dtype=float)
    columns = np.arange(len(of_layer))
    one = coo_array((np.ones(len(of_layer)), ([row for row, _ in of_layer], columns))).tocsr()
    found = milp(
        losses / (bound or 1.0),
        constraints=[LinearConstraint(one, 1, 1), LinearConstraint(sizes[None] / max(wanted, 1), lb=wanted > 0)],
        integrality=np.ones(len(of_layer)),
        bounds=Bounds(0, 1),
        options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": GAP},
    )
    if found.x is None:
        return None
    taken = {row: groups for (row, groups), x in zip(of_layer, found.x, strict=True) if x > 0.5}
    return [taken[row] for row in range(len(curves))]


def _given_back(
    curves: Sequence[Curve], errors: Mapping[str, Callable[[float], float]], removed: Sequence[int], wanted: int
) -> list[int]:
    """Leave groups that need not go with the layer that loses most by them; no error grows."""
    left = list(removed)
    while True:
        surplus = _weights(curves, left) - wanted
        able = [at for at, each in enumerate(curves) if left[at] and each.group <= surplus]
        if not able:
            return left

        def gain(at: int, surplus: int = surplus) -> float:
            own, groups = curves[at], _groups(curves[at])
            fewer = left[at] - min(left[at], surplus // own.group)
            return errors[own.layer](left[at] / groups) - errors[own.layer](fewer / groups)

        best = max(able, key=gain)
        left[best] -= min(left[best], surplus // curves[best].group)
