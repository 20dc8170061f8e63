"""Distribute the sparsity over layers by a scan, with the smallest total error."""

import math
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import pairwise

from ..core.errors import InputError, PruneError
from ..core.nearest import nearest
from ..report import Curve, Sensitivity

STEP = 0.01  # of sparsity: how finely a curve is read between the points of the scan
POWER = 2.0  # of a curve below its first point, where the scan has one point alone
UNUSABLE = 10.0  # a layer whose outputs were not finite counts as so many times the worst finite error


def allocate(sensitivity: Sensitivity, sparsity: float, bounds: tuple[float, float] = (0.0, 0.98)) -> dict[str, float]:
    """Return each layer's sparsity, with the smallest sum of errors for `sparsity` over all their weights.

    Curves are made monotone (pool adjacent violators), read between their points as powers of the sparsity, and made
    convex; then the cheapest steps are taken, in error per weight, which is optimal for convex curves. The weights
    removed add up exactly, to less than one group where groups have more than one weight. A layer keeps a group at
    least. Raises PruneError where the bounds do not allow the share.
    """
    low, high = bounds
    if not 0 <= low <= high <= 1:
        raise InputError(f"A layer's sparsity is bounded by {low:g} and {high:g}; give 0 <= least <= most <= 1.")
    curves = sensitivity.curves
    if not curves:
        raise PruneError(
            "The scan found no layer to prune, so there is nothing to share out. Leave fewer layers dense."
        )
    groups = [max(1, curve.weights // curve.group) for curve in curves]
    least = [min(math.ceil(low * n - 1e-9), n - 1) for n in groups]
    most = [max(min(math.floor(high * n + 1e-9), n - 1), few) for n, few in zip(groups, least, strict=True)]
    total, fewest, upmost = (sum(n * c.group for n, c in zip(of, curves, strict=True)) for of in (groups, least, most))
    wanted = round(sparsity * total) if math.isfinite(sparsity) else -1
    if not fewest <= wanted <= upmost:
        raise PruneError(
            f"{sparsity:.1%} of the weights cannot be taken from {len(curves)} layers when each loses "
            f"{low:.0%} to {high:.0%} and keeps something: that allows {fewest / total:.1%} to "
            f"{upmost / total:.1%} in all. Choose a --sparsity between, or leave fewer layers dense."
        )

    worst = _worst(curves)
    steps = [
        (slope, index, upto)
        for index, curve in enumerate(curves)
        for slope, upto in _convex_steps(_errors(curve, worst), least[index], most[index], groups[index], curve.group)
    ]
    removed, left = list(least), wanted - fewest
    for _, index, upto in sorted(steps, key=lambda step: step[0]):  # stable: a layer's own steps stay in order
        size = curves[index].group
        taken = min(upto - removed[index], left // size)
        removed[index] += taken
        left -= taken * size
    return {curve.layer: gone / n for curve, gone, n in zip(curves, removed, groups, strict=True)}


def curve_of(sensitivity: Sensitivity) -> dict[str, Callable[[float], float]]:
    """Return each layer's error as a function of its sparsity, read from the scan as `allocate` does."""
    worst = _worst(sensitivity.curves)
    return {curve.layer: partial(_between, _errors(curve, worst)) for curve in sensitivity.curves}


def leave_dense(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Return the layers that match: shell patterns for module names, or a module's name for all layers in it.

    Raises InputError for a pattern that matches none, with the most similar names.
    """
    left: set[str] = set()
    for pattern in patterns:
        named = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not named:
            tails = {part: name for name in reversed(names) for part in (name.rpartition(".")[2], name)}
            near = dict.fromkeys(tails[part] for part in nearest(pattern, tails, 4))
            some = f"Near it: {', '.join(near)}" if near else f"There are {', '.join(names[:6]) or 'none'}"
            raise InputError(
                f"No layer that could be pruned is called {pattern!r}. {some}. Give names, or patterns such as "
                "'layers.0.*'."
            )
        left |= named
    return left


def _worst(curves: Sequence[Curve]) -> float:
    return max((p.error for c in curves for p in c.points if p.error is not None), default=1.0)


def _errors(curve: Curve, worst: float) -> list[tuple[float, float]]:
    """Return the curve from (0, 0), monotone and finite: noise in a scan shall not make less pruning look worse."""
    unusable = UNUSABLE * max(worst, 1e-12)
    points = sorted((p for p in curve.points if p.sparsity > 0), key=lambda point: point.sparsity)
    found = [unusable if p.error is None or not math.isfinite(p.error) else max(0.0, p.error) for p in points]
    return [(0.0, 0.0), *zip((p.sparsity for p in points), _monotone(found), strict=True)]


def _monotone(values: Sequence[float]) -> list[float]:
    """Return the nearest sequence, in squares, that never falls: pool adjacent violators (Ayer et al. 1955)."""
    pools: list[tuple[float, int]] = []  # mean, count
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, others = pools.pop()
            mean = (mean * count + before * others) / (count + others)
            count += others
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _convex_steps(
    points: list[tuple[float, float]], least: int, most: int, groups: int, size: int
) -> Iterator[tuple[float, int]]:
    """Yield (error per weight, groups removed after it) along the lower convex hull, from `least` to `most` groups."""
    levels = sorted({least, most, *(round(groups * STEP * i) for i in range(round(1 / STEP)))})
    hull: list[tuple[int, float]] = []
    for level in levels:
        if least <= level <= most:
            here = (level, _between(points, level / groups))
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], here):
                hull.pop()
            hull.append(here)
    for before, after in pairwise(hull):
        yield _slope(before, after) / size, after[0]


def _slope(before: tuple[int, float], after: tuple[int, float]) -> float:
    return (after[1] - before[1]) / (after[0] - before[0])


def _between(points: list[tuple[float, float]], sparsity: float) -> float:
    """Read the error at a sparsity: as a power of it between two points, and beyond the last by the last's power."""
    if sparsity <= 0 or len(points) == 1:
        return 0.0
    index = next((i for i, (at, _) in enumerate(points) if i and at >= sparsity), len(points) - 1)
    (s0, e0), (s1, e1) = points[index - 1], points[index]
    if index == 1:
        power = _power(points[1], points[2]) if len(points) > 2 else POWER
        return e1 * math.pow(sparsity / s1, max(power, 1.0))
    if e0 <= 0:
        return max(0.0, e1 * (sparsity - s0) / (s1 - s0))
    return e1 * math.pow(sparsity / s1, _power((s0, e0), (s1, e1)))


def _power(before: tuple[float, float], after: tuple[float, float]) -> float:
    if before[1] <= 0 or after[1] <= 0:
        return POWER
    return math.log(after[1] / before[1]) / math.log(after[0] / before[0])
